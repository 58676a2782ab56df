#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# The worker hangs or dies under its clients, under a real systemd: it is replaced, and nobody is told of an end that never was.
#
#   service-crash.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob; a debug build, for its drill
#
# KVMJOB_CRASH_SEEDS="N..." crashes it so again. Needs root, systemd and /dev/kvm. Exit status: 0 passed, 77 did not run, else failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
. Tests/EndToEnd/box.sh
boot crash
has_restarted() { [ "$(property NRestarts)" -gt "$restarts" ]; }
# Processor time of the worker, in clock ticks of 10 ms.
ticks() { in_box awk '{ print $14 + $15 }' "/proc/$worker/stat"; }
runs_on() { [ "$(ticks)" -gt $((before + 5)) ]; }
has_drill() { has_record _PID="$worker" MESSAGE='drill: the event loop hangs from here on'; }

printf -- '--- the event loop hangs\n'
expect 'it serves' batch --jobs 1
expect 'the unit has a watchdog' property_is WatchdogUSec 30s
options '--slots 2' WatchdogSec=2s
expect 'it serves with a short one' batch --jobs 1
worker=$(property MainPID)
in_box kill -WINCH "$worker"
expect 'nobody asked for a drill: it serves after the signal' batch --jobs 1
expect 'and nothing happened' equals "$(property MainPID) $(has_drill || echo none)" "$worker none"

# Long enough to look at it before that.
options '--slots 2' WatchdogSec=5s Environment=KVMJOBD_WATCHDOG_DRILL=1
expect 'in a drill: it serves' batch --jobs 1
worker=$(property MainPID)
restarts=$(property NRestarts)
# Two guests run on, on threads of their own.
answers=$(mktemp)
batch --jobs 2 --image ebfe --wall-ms 60000 --when STARTED:2 --run "kill -WINCH $worker" >"$answers" &
expect 'it hangs' eventually 5 has_drill
before=$(ticks)
expect 'its other threads run on' eventually 5 runs_on
expect 'it is restarted' eventually 20 has_restarted
expect 'by the watchdog' has_record UNIT=kvmjobd.service UNIT_RESULT=watchdog
wait
report=$(cat "$answers")
rm -f -- "$answers"
expect 'its client knows that both jobs are lost' says unanswered '[1, 2]'
expect 'it serves again' batch --jobs 1
expect 'another process than before' test "$(property MainPID)" != "$worker"

printf -- '--- the process hangs\n'
restarts=$(property NRestarts)
in_box systemctl kill --signal=STOP kvmjobd.service
expect 'it is restarted' eventually 20 has_restarted
expect 'and serves again' batch --jobs 1

printf -- '--- the process is killed\n'
options '--slots 4 --log-jobs all'
for seed in ${KVMJOB_CRASH_SEEDS:-1 2 $RANDOM}; do
    in_box "$repository/Tests/EndToEnd/crash.py" $socket --seed "$seed"
    expect "seed $seed: no client believes in what was not" equals $? 0
    expect 'the socket was there all the time' socket_listens
done
# What ended last may be missing in the journal, which is told behind; what is there is what clients were told.
expect 'no job has two ends in the journal' \
    equals "$(records MESSAGE_ID=$finished | python3 -c 'if True:
        import collections, json, sys
        ends = collections.Counter(json.loads(line)["KVMJOB_LABEL"] for line in sys.stdin)
        print([end for end in ends.items() if end[0].startswith("crash-") and end[1] > 1])')" '[]'
finish
