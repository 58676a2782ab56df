# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# What the end-to-end scripts share; sourced, with $0 as the name in messages.

failures=0

# Ends the script with status 77: it could not run here, and nobody shall overlook that.
did_not_run() {
    printf '\n*** %s DID NOT RUN: %s ***\n\n' "${0##*/}" "$1" >&2
    exit 77
}

# expect WHAT COMMAND...: runs COMMAND, says whether WHAT holds, and shows the output if it does not.
expect() {
    local what=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf 'ok      %s\n' "$what"
        return 0
    fi
    failures=$((failures + 1))
    printf 'FAILED  %s\n        %s\n%s\n' "$what" "$*" "$output" | sed '3,$s/^/        | /' >&2
    return 1
}

# equals ACTUAL EXPECTED, contains TEXT PART: conditions that show what they saw.
equals() {
    [ "$1" = "$2" ] || { printf 'is "%s", expected "%s"\n' "$1" "$2"; return 1; }
}
contains() {
    case $1 in *"$2"*) ;; *) printf '"%s" is not in: %s\n' "$2" "$1"; return 1 ;; esac
}

# eventually SECONDS COMMAND...: asks again until COMMAND succeeds. When the time is over, fails with its last output.
eventually() {
    local end=$((SECONDS + $1)) output
    shift
    until output=$("$@" 2>&1); do
        [ $SECONDS -lt $end ] || { printf '%s\n' "$output"; return 1; }
        sleep 0.05
    done
}

# field JSON NAME: one value of a JSON object, as JSON; null if there is none.
field() {
    python3 -c 'import json, sys; print(json.dumps(json.loads(sys.argv[1]).get(sys.argv[2]), sort_keys=True))' "$1" "$2"
}

# Says how it went and ends the script.
finish() {
    [ "$failures" = 0 ] || { printf '%s: %d expectations failed\n' "${0##*/}" "$failures" >&2; exit 1; }
    printf '%s: all expectations hold\n' "${0##*/}"
    exit 0
}
