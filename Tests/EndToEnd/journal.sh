#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Runs the journal tests (SystemdTests.JournalTests) against a real journald that lives in a mount
# namespace of its own and vanishes with it.
#
#   journal.sh [SCRATCH]      SCRATCH: where `swift build --build-tests` built, default .build
#
# Needs root and a machine-id. Exit status: 0 passed, 77 did not run (the reason is on stderr), else failed.
set -u
scratch=${1:-.build}
cd "$(dirname "$0")/../.." || exit 1

did_not_run() { printf '\n*** journal.sh DID NOT RUN: %s ***\n\n' "$1" >&2; exit 77; }

[ "$(id -u)" = 0 ] || did_not_run 'it needs root, to mount a /run of its own'
[ -x /lib/systemd/systemd-journald ] || did_not_run 'there is no /lib/systemd/systemd-journald'
[ -s /etc/machine-id ] || did_not_run 'journald needs an /etc/machine-id'
unshare --mount true 2>/dev/null || did_not_run 'a mount namespace is not permitted here'

# shellcheck disable=SC2016 # expanded by the inner shell
output=$(unshare --mount --propagation private bash -eu -c '
    mount -t tmpfs journal-test /run
    mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
    printf "%s\n" "[Journal]" Storage=volatile RateLimitIntervalSec=0 ReadKMsg=no Audit=no ForwardToSyslog=no \
        >/run/systemd/journald.conf.d/test.conf
    /lib/systemd/systemd-journald & journald=$!
    trap "kill $journald" EXIT
    for _ in $(seq 100); do [ -S /run/systemd/journal/socket ] && break; sleep 0.1; done
    [ -S /run/systemd/journal/socket ] || { echo "journald did not start within 10 s"; exit 1; }
    KVMJOB_TEST_JOURNAL=1 swift test --skip-build --disable-xctest --scratch-path "$1" --filter JournalTests
' journal.sh "$scratch" 2>&1)
status=$?
printf '%s\n' "$output"
[ $status = 0 ] || exit 1
# `swift test` is content when a filter matches nothing, so look at what ran.
if printf '%s\n' "$output" | grep -q 'Suite JournalTests passed'; then exit 0; fi
echo 'journal.sh: the tests did not run; build them with: swift build --build-tests' >&2
exit 1
