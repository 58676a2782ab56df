#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# kvmjob status, ps, top, cancel and drain against a worker that has jobs of several users.
#
#   control.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
kvmjobd=${1:-.build/debug/kvmjobd}
kvmjob=$(realpath "${2:-.build/debug/kvmjob}")
[ -x "$kvmjobd" ] && [ -x "$kvmjob" ] || did_not_run "there is no $kvmjobd or no $kvmjob (swift build)"
[ -r /dev/kvm ] && [ -w /dev/kvm ] || did_not_run '/dev/kvm is not usable'

place=$(mktemp -d)
chmod 755 "$place"
worker=
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$place"' EXIT
export KVMJOB_SOCKET=$place/socket
"$kvmjobd" --socket "$KVMJOB_SOCKET" --slots 2 --log-target stderr --drain-timeout 10s 2>"$place/log" &
worker=$!
eventually 10 test -S "$KVMJOB_SOCKET" || did_not_run "kvmjobd did not start: $(cat "$place/log")"
chmod 666 "$KVMJOB_SOCKET"
# What other users may execute too.
cp "$kvmjob" "$place/kvmjob" && kvmjob=$place/kvmjob

# One value of a JSON object, such as worker.slots, as JSON.
of() { python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."): value = value[int(key) if key.isdigit() and isinstance(value, list) else key]
print(json.dumps(value))' "$1"; }
status() { "$kvmjob" status --json | of "$1"; }
is() { equals "$(status "$1")" "$2"; }
# says STATUS PART COMMAND...
says() {
    local status=$1 part=$2 output actual
    shift 2
    output=$(timeout 60 "$@" 2>&1 </dev/null)
    actual=$?
    equals "$actual" "$status" && contains "$output" "$part"
}
endless='eb fe'

expect 'a worker without jobs has a status' says 0 '0 of 2 in use' "$kvmjob" status
expect 'and no jobs' equals "$("$kvmjob" ps | wc -l) $("$kvmjob" ps --json)" '1 '
expect 'whoever started the worker is an operator' is worker.operator true

"$kvmjob" submit --hex f4 >/dev/null 2>&1
"$kvmjob" submit --hex 'b0 07 e6 f4' >/dev/null 2>&1
expect 'jobs are counted by outcome' equals "$(status counters.jobs_ended.halted) $(status counters.jobs_ended.exited)" '1 1'
expect 'one that exits with a code has failed' is worker.failed 1

# Two run, the rest waits.
"$kvmjob" submit --json --repeat 5 --wall-time 50s --hex "$endless" >"$place/mine" 2>/dev/null &
mine=$!
expect 'all slots are used' eventually 20 is worker.running 2
expect 'the others wait' is worker.queued 3
expect 'ps lists them all, those by rising number' equals "$("$kvmjob" ps --json | python3 -c '
import json, sys
jobs = [json.loads(line) for line in sys.stdin]
ids = [job["id"] for job in jobs]
print(ids == sorted(set(ids)), sorted(job["state"] for job in jobs), {job["mode"] for job in jobs}, jobs[0]["pid"] > 0)')" \
    "True ['queued', 'queued', 'queued', 'running', 'running'] {'real16'} True"
lines=$("$kvmjob" ps)
expect 'and people read the same' equals "$(printf '%s\n' "$lines" | grep -c 'running\|queued')" 5
expect 'in 80 columns' equals "$( ("$kvmjob" ps; "$kvmjob" status) | awk 'length > 80' | wc -l)" 0

metrics() { "$kvmjob" status --openmetrics | Tests/EndToEnd/openmetrics.py "$@" 2>/dev/null | tr '\n' ' '; }
expect 'metrics are sound, and the same numbers' equals \
    "$(metrics kvmjob_running_jobs kvmjob_queued_jobs 'kvmjob_jobs_total{outcome="halted"}' kvmjob_run_time_seconds_count "kvmjob_tenant_queued_jobs{user=\"$(id -u)\"}")" '2 3 1 2 3 '

if python3 -c 'import prometheus_client' 2>/dev/null ||
    { PYTHONPATH=$place/python python3 -m pip install --quiet --target "$place/python" prometheus_client >/dev/null 2>&1 && export PYTHONPATH=$place/python; }; then
    expect 'and prometheus_client reads them' bash -c '"$1" status --openmetrics | Tests/EndToEnd/openmetrics.py 2>&1 | grep "prometheus_client reads"' - "$kvmjob"
else
    printf 'note    prometheus_client is not to be had here; our own reader stands alone\n'
fi

# The number of one that waits.
waiting() { "$kvmjob" ps --json | python3 -c 'import json, sys; print([job["id"] for job in map(json.loads, sys.stdin) if job["state"] == "queued"][-1])'; }
id=$(waiting)
expect 'a job that waits is cancelled by its number' says 0 '1 job stopped' "$kvmjob" cancel "$id"
expect 'and its client is told by whom' eventually 10 grep -q '"cancelled":{"by":"user"}' "$place/mine"
expect 'with the number that ps had' grep -q "\"id\":$id," "$place/mine"
expect 'it is not there any more' is worker.queued 2
expect 'a second time it is unknown' says 1 "job $id is unknown" "$kvmjob" cancel "$id"
expect 'one that never was is unknown, too' says 1 'job 99999999 is unknown' "$kvmjob" cancel 99999999

as() { local user=$1; shift; setpriv --reuid "$user" --regid "$user" --clear-groups "$@"; }
if [ "$(id -u)" = 0 ]; then
    as 65533 "$kvmjob" submit --json --wall-time 50s --hex "$endless" >"$place/theirs" 2>/dev/null &
    theirs=$!
    their_id() { "$kvmjob" ps --tenant 65533 --json | of id; }
    expect "an operator sees another user's job" eventually 20 their_id
    expect 'who sees that alone' equals "$(as 65533 "$kvmjob" ps --json | wc -l)" 1
    expect 'and is no operator' equals "$(as 65533 "$kvmjob" status --json | of worker.operator)" false
    expect "and cannot stop others' jobs" says 1 'is unknown' setpriv --reuid 65533 --regid 65533 --clear-groups "$kvmjob" cancel "$("$kvmjob" ps --tenant root --json | head -n 1 | of id)"
    expect 'nor the worker' says 1 'only operators' setpriv --reuid 65533 --regid 65533 --clear-groups "$kvmjob" drain
    expect 'an operator stops it' says 0 '1 job stopped' "$kvmjob" cancel "$(their_id)"
    wait "$theirs"
    expect 'of which its client is told' grep -q '"cancelled":{"by":"operator"}' "$place/theirs"
fi

# On a terminal of 100 by 30 characters; what it draws is kept.
top() {
    timeout 60 python3 - "$kvmjob" "$1" <<'END'
import fcntl, os, pty, re, select, struct, sys, termios, time
program, keys = sys.argv[1], sys.argv[2].encode().decode("unicode_escape").encode()
pid, terminal = pty.fork()
if pid == 0:
    os.execv(program, [program, "top"])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
before = termios.tcgetattr(terminal)
drawn, pictures, end = b"", 0, time.monotonic() + 30
while time.monotonic() < end:
    if select.select([terminal], [], [], 1)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        drawn += part
        if drawn.count(b"\x1b[H") >= 2 and pictures == 0:
            pictures = 1
            os.write(terminal, keys)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
text = drawn.decode(errors="replace")
last = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", text.split("\x1b[H")[-1])
print(status, "\x1b[?1049h" in text, text.rstrip().endswith("\x1b[?1049l"), max(map(len, last.splitlines())) <= 100)
print(last)
END
}
drawn=$(top q)
expect 'top draws, and q leaves' equals "$(printf '%s\n' "$drawn" | head -n 1)" '0 True True True'
expect 'it shows slots, users and jobs' contains "$drawn" 'slots 2/2'
expect 'with a line for each job that runs' equals "$(printf '%s\n' "$drawn" | grep -c ' running ')" 2
expect 'Ctrl-C leaves, too, and leaves the terminal' equals "$(top '\x03' | head -n 1)" '0 True True True'
expect 'without a terminal it names what to use' says 64 'kvmjob ps lists' "$kvmjob" top

expect 'a job that may not wait so long ends as such' says 124 'wait-expired' "$kvmjob" submit --wait 200ms --hex f4
expect 'all of my own are stopped with a count' says 0 '4 jobs stopped' "$kvmjob" cancel --all
wait "$mine"
expect 'every one of them has told its end' equals "$(grep -c '"outcome":"cancelled"' "$place/mine")" 5
expect 'with nothing left there is nothing to stop' says 0 '0 jobs stopped' "$kvmjob" cancel --all

# Of jobs that wait, the one with the highest priority goes first; a few that are in line for the slots already stay in front.
"$kvmjob" submit --json --repeat 10 --priority 1 --wall-time 50s --hex "$endless" >/dev/null 2>&1 &
expect 'eight jobs wait' eventually 20 is worker.queued 8
"$kvmjob" submit --priority 9 --wall-time 50s --hex "$endless" >/dev/null 2>&1 &
# in_state STATE PRIORITY: a job of this priority is in this state.
in_state() { "$kvmjob" ps --json | grep "\"state\":\"$1\"" | grep -q "\"priority\":$2,"; }
expect 'and one that is more urgent behind them' eventually 20 in_state queued 9
# Makes room for one job more, unless that one runs.
turn() { in_state running 9 || { "$kvmjob" cancel "$("$kvmjob" ps --json | grep '"state":"running"' | head -n 1 | of id)" && false; }; }
eventually 30 turn >/dev/null
expect 'the urgent one gets a slot' in_state running 9
expect 'while others still wait that came before' in_state queued 1
"$kvmjob" cancel --all >/dev/null 2>&1

"$kvmjob" submit --json --wall-time 50s --hex "b0 2e e6 e9 $endless" >"$place/last" 2>/dev/null &
last=$!
expect 'a last job runs' eventually 20 is worker.running 1
"$kvmjob" drain --wait >"$place/drain" 2>&1 &
drain=$!
expect 'a drain is told to those who ask' eventually 10 grep -q 'the worker ends its jobs' "$place/drain"
wait "$drain"
expect 'and returns when the worker has left' equals "$? $(tail -n 1 "$place/drain" | cut -d';' -f1)" '0 the worker has left'
[ "$(tail -n 1 "$place/drain" | cut -d';' -f1)" = 'the worker has left' ] || kill "$worker"
wait "$last"
expect 'its last job was told of it' grep -q '"cancelled":{"by":"drain"}' "$place/last"
wait "$worker"
expect 'which ended well' equals $? 0
expect 'then there is nobody to ask' says 125 'start kvmjobd' "$kvmjob" status
finish
