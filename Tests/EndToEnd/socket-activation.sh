#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# kvmjobd behind systemd-socket-activate, in both ways of socket activation, and what it says when it cannot serve.
#
#   socket-activation.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob
#
# Needs /dev/kvm and systemd-socket-activate, no root. Exit status: 0 passed, 77 did not run, else failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
kvmjobd=$(readlink -f -- "${1:-.build/debug/kvmjobd}")
kvmjob=$(readlink -f -- "${2:-.build/debug/kvmjob}")
for program in "$kvmjobd" "$kvmjob"; do [ -x "$program" ] || did_not_run "there is no $program (swift build)"; done
command -v systemd-socket-activate >/dev/null || did_not_run 'there is no systemd-socket-activate'
[ -r /dev/kvm ] && [ -w /dev/kvm ] || did_not_run '/dev/kvm cannot be opened'

folder=$(mktemp -d)
socket=$folder/kvmjobd.sock
activator=
trap '[ -z "$activator" ] || kill "$activator" 2>/dev/null; rm -rf -- "$folder"' EXIT

# activate NAME LISTEN_OPTIONS... -- DAEMON_OPTIONS...: kvmjobd behind $socket; its log goes to $folder/NAME.
activate() {
    local name=$1 listen=()
    shift
    while [ "$1" != -- ]; do listen+=("$1"); shift; done
    shift
    rm -f -- "$socket"
    systemd-socket-activate --listen="$socket" "${listen[@]}" "$kvmjobd" --log-target stderr "$@" 2>"$folder/$name" &
    activator=$!
    eventually 10 test -S "$socket" || { cat "$folder/$name" >&2; exit 1; }
}

# await_end: waits for the process in front of the socket, whose status is then in $status.
await_end() {
    wait "$activator"
    status=$?
    activator=
}

touch_socket() { python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$socket"; }

activate single --fdname=api -- --log-jobs all
expect 'the first connection starts it and its jobs are answered' Tests/EndToEnd/batch.py "$socket" --jobs 3 --label act
printf '\xf4' >"$folder/halt.bin"
expect 'kvmjob submit runs a job on it' "$kvmjob" submit --socket "$socket" "$folder/halt.bin"
expect 'a job that used up its steps goes on with those from a pipe' equals \
    "$(printf '4\n\n100\n' | timeout 20 "$kvmjob" submit --socket "$socket" --hex 'b90500 b061 e6e9 e2fc f4' --steps 3 \
        --on-exhausted pause 2>/dev/null)" aaaaa
kill -TERM "$activator"
await_end
expect 'SIGTERM ends it with status 0' equals $status 0
log=$(cat "$folder/single")
for event in worker-ready job-finished worker-draining worker-stopped; do
    expect "the log tells of $event" contains "$log" "event=$event"
done
expect 'the log tells the label of the job' contains "$log" 'label=act'
expect 'lines show no build path' equals "$(grep '^kvmjobd:' "$folder/single" | grep -F "$PWD")" ''

activate idle --fdname=api -- --idle-exit 1s
expect 'it serves before it is idle' Tests/EndToEnd/batch.py "$socket" --jobs 1
await_end
expect 'it leaves with status 0 when idle' equals $status 0
expect 'and says why' contains "$(cat "$folder/idle")" 'leaving: idle'

activate accept --accept --fdname=connection -- --log-jobs all
expect 'Accept=yes: a process serves one connection' Tests/EndToEnd/batch.py "$socket" --jobs 2
expect 'Accept=yes: and another process the next one' Tests/EndToEnd/batch.py "$socket" --jobs 2
expect 'Accept=yes: both leave when their connection is over' \
    eventually 10 sh -c "[ \$(grep -c event=worker-stopped '$folder/accept') = 2 ]"
kill "$activator"; wait "$activator" 2>/dev/null; activator=

activate name --fdname=other --
touch_socket
await_end
expect 'a socket of another name is status 78' equals $status 78
expect 'and the names are told' contains "$(cat "$folder/name")" 'systemd passed "other", but no socket named "api"'

activate datagram --datagram --fdname=api --
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", sys.argv[1])' "$socket"
await_end
expect 'a datagram socket is status 78' equals $status 78
expect 'and the setting is named' contains "$(cat "$folder/datagram")" 'ListenStream='
finish
