#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Snapshots from the command line: the name in a pipe, jobs from it, and whose it is.
#
#   snapshots.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
kvmjobd=${1:-.build/debug/kvmjobd}
kvmjob=${2:-.build/debug/kvmjob}
[ -x "$kvmjobd" ] && [ -x "$kvmjob" ] || did_not_run "there is no $kvmjobd or no $kvmjob (swift build)"
[ -r /dev/kvm ] && [ -w /dev/kvm ] || did_not_run '/dev/kvm is not usable'

place=$(mktemp -d)
trap 'kill "$worker" 2>/dev/null; wait; rm -rf "$place"' EXIT
chmod 755 "$place"
export KVMJOB_SOCKET=$place/socket
"$kvmjobd" --socket "$KVMJOB_SOCKET" --slots 2 --log-target stderr 2>"$place/log" &
worker=$!
eventually 10 test -S "$KVMJOB_SOCKET" || did_not_run "kvmjobd did not start: $(cat "$place/log")"
chmod 666 "$KVMJOB_SOCKET"

# Prints "i", is ready, prints "w", and ends with the code 7.
image='b0 69 e6 e9 e6 f5 b0 77 e6 e9 b0 07 e6 f4'
name=$("$kvmjob" snapshot --hex "$image" 2>"$place/messages")
expect 'a snapshot is taken' equals $? 0
expect 'its name is all that comes out' equals "$(printf %s "$name" | tr -d 0-9a-f | wc -c) ${#name}" '0 64'
expect 'what the guest said comes as a message' equals "$(cat "$place/messages")" i
for run in 1 2; do
    expect "job $run goes on from there" equals "$("$kvmjob" submit --from "$name" 2>/dev/null)" w
done
"$kvmjob" submit --from "$name" >/dev/null 2>&1
expect 'its exit code is the status' equals $? 7
expect 'the same image has the same name' equals "$("$kvmjob" snapshot --hex "$image" 2>/dev/null)" "$name"

as() { local user=$1; shift; setpriv --reuid "$user" --regid "$user" --clear-groups "$kvmjob" "$@"; }

# another USER STATUS PART: that user's job from the snapshot ends with STATUS and says PART.
another() {
    local output actual
    output=$(as "$1" submit --from "$name" 2>&1)
    actual=$?
    equals "$actual" "$2" && contains "$output" "$3"
}
if [ "$(id -u)" = 0 ]; then
    expect 'to another user it is unknown' another 65533 126 'take it again'
    as 65533 snapshot --hex "$image" >/dev/null 2>&1
    expect 'until that user takes it, too' another 65533 7 w
    # 65534 stands for every user who has no number in the worker's user namespace.
    output=$(as 65534 snapshot --hex "$image" 2>&1)
    expect 'one who looks like others can keep none' contains "$output" 'cannot be told from others'
    expect 'and finds none' another 65534 126 'take it again'
fi

"$kvmjob" snapshot --hex 'f4' >"$place/output" 2>"$place/messages"
expect 'a guest that ends before is a failure' equals "$? $(wc -c <"$place/output")" '1 0'
expect 'that is told' contains "$(cat "$place/messages")" 'before its point'
output=$("$kvmjob" snapshot --embedded --hex 'f4' 2>&1)
expect 'without a service it says what to start' equals $? 125
expect 'and why' contains "$output" 'lives in a worker'

kill "$worker"
wait "$worker"
expect 'the worker leaves with status 0' equals $? 0
expect 'and tells of the jobs of its last minute' grep -q '[0-9] jobs ended, [0-9]* of them failed' "$place/log"
finish
