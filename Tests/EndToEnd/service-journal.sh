#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# What the journal tells of jobs, under a real systemd: every job is found, by its id, its user and its outcome; and of more than
# the journal takes, what is missing is counted.
#
#   service-journal.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob
#
# Needs root, systemd and /dev/kvm. Exit status: 0 passed, 77 did not run, else failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
. Tests/EndToEnd/box.sh
boot journal
add_users

printf -- '--- records\n'
batch --jobs 1 >/dev/null
expect 'readiness is found by its MESSAGE_ID' has_record MESSAGE_ID=$ready
expect 'the record names its source by module, not by path' \
    equals "$(last CODE_FILE MESSAGE_ID=$ready)" kvmjobd/Daemon.swift
expect 'the record has the identifier' equals "$(last SYSLOG_IDENTIFIER MESSAGE_ID=$ready)" kvmjobd
expect 'by default a job leaves a record at its end' has_record MESSAGE_ID=$finished
options '--log-jobs failures'
before=$(records MESSAGE_ID=$finished | wc -l)
batch --jobs 1 >/dev/null
expect 'of failures only, one that went well leaves none' equals "$(records MESSAGE_ID=$finished | wc -l)" "$before"
options '--log-jobs all'
batch --jobs 1 --label logged --steps 10 >/dev/null
id=$(last KVMJOB_ID KVMJOB_LABEL=logged)
expect 'the record of a job is found by its id' has_record "KVMJOB_ID=$id" MESSAGE_ID=$finished
for pair in PRIORITY=6 KVMJOB_OUTCOME=halted KVMJOB_STEPS=1 KVMJOB_UID=0; do
    expect "it says $pair" equals "$(last "${pair%%=*}" KVMJOB_LABEL=logged MESSAGE_ID=$finished)" "${pair#*=}"
done
for name in MESSAGE KVMJOB_EXITS KVMJOB_WALL_USEC KVMJOB_QUEUE_USEC OBJECT_PID; do
    expect "it has $name" test "$(last "$name" KVMJOB_LABEL=logged MESSAGE_ID=$finished)" != None
done
batch --jobs 1 --label slow --image ebfe --wall-ms 10 >/dev/null
expect 'a job that failed has priority 4' equals "$(last PRIORITY KVMJOB_LABEL=slow MESSAGE_ID=$finished)" 4

printf -- '--- every job, by id, by user, by outcome\n'
options '--log-jobs all'
# At the same time: their records lie mixed in the journal.
as ann "$repository/Tests/EndToEnd/batch.py" $socket --jobs 40 --label ann-halts >/dev/null &
as ann "$repository/Tests/EndToEnd/batch.py" $socket --jobs 7 --image ebfe --wall-ms 5 --label ann-loops >/dev/null &
as bob "$repository/Tests/EndToEnd/batch.py" $socket --jobs 30 --image ebfe --steps 100 --label bob-steps >/dev/null &
batch --jobs 20 --label root-halts >/dev/null &
wait
invocation=$(property InvocationID)
here=(_SYSTEMD_INVOCATION_ID="$invocation")
ended=("${here[@]}" MESSAGE_ID=$finished)
expect 'there is one record for each of the 97 jobs' equals "$(count "${ended[@]}")" 97
# ids MATCH...: the ids of the jobs as ranges, "1-97" if each from 1 to 97 is there once.
ids() {
    records "$@" | python3 -c 'if True:
        import json, sys
        ids = sorted(int(json.loads(line)["KVMJOB_ID"]) for line in sys.stdin)
        print(f"{ids[0]}-{ids[-1]}" if ids and ids == list(range(ids[0], ids[-1] + 1)) else ids)'
}
expect 'and each id once' equals "$(ids "${ended[@]}")" 1-97
# KVMJOB_UID, KVMJOB_OUTCOME, KVMJOB_LABEL and how many of their jobs there are.
while read -r uid outcome label jobs; do
    expect "$jobs of user $uid ended as $outcome" \
        equals "$(count "${ended[@]}" KVMJOB_UID="$uid" KVMJOB_OUTCOME="$outcome")" "$jobs"
    expect "which are those called $label" \
        equals "$(count "${ended[@]}" KVMJOB_UID="$uid" KVMJOB_OUTCOME="$outcome" KVMJOB_LABEL="$label")" "$jobs"
done <<'END'
2001 halted ann-halts 40
2001 wall-time-exhausted ann-loops 7
2002 steps-exhausted bob-steps 30
0 halted root-halts 20
END
expect 'all of one user' equals "$(count "${ended[@]}" KVMJOB_UID=2001)" 47
expect 'all with one outcome' equals "$(count "${ended[@]}" KVMJOB_OUTCOME=halted)" 60

accepting=("${here[@]}" MESSAGE_ID=$accepted)
expect 'there is one record at the acceptance of each' equals "$(count "${accepting[@]}")" 97
expect 'and each id once' equals "$(ids "${accepting[@]}")" 1-97
expect 'acceptances are found by user' equals "$(count "${accepting[@]}" KVMJOB_UID=2001)" 47
expect 'and by label' equals "$(count "${accepting[@]}" KVMJOB_LABEL=bob-steps)" 30
expect 'both records of a job are found by its id' equals "$(count "${here[@]}" KVMJOB_ID=50)" 2

printf -- '--- ids after a restart\n'
in_box systemctl restart kvmjobd.service
batch --jobs 2 --label again >/dev/null
expect 'ids begin anew' equals "$(ids MESSAGE_ID=$finished KVMJOB_LABEL=again)" 1-2
expect 'so the invocation goes with the id' \
    equals "$(count _SYSTEMD_INVOCATION_ID="$(property InvocationID)" MESSAGE_ID=$finished KVMJOB_ID=1)" 1
expect 'also of the one before' equals "$(count "${ended[@]}" KVMJOB_ID=1)" 1

# burst JOBS: a load of tiny jobs; the service is stopped behind it, and what the journal holds of it is in $told and $lost.
burst() {
    in_box kvmjob bench --socket $socket --jobs "$1" --warmup 0ms --json >/dev/null
}
tell() {
    local match=(_SYSTEMD_INVOCATION_ID="$(property InvocationID)")
    in_box systemctl --quiet stop kvmjobd.service 2>/dev/null
    # The summaries are kept apart from the records of jobs: they count what has ended, not what was told.
    jobs=$(total KVMJOB_FINISHED "${match[@]}" MESSAGE_ID=$summary)
    told=$(count "${match[@]}" MESSAGE_ID=$accepted MESSAGE_ID=$finished)
    lost=$(total KVMJOB_DROPPED "${match[@]}" MESSAGE_ID=$dropped)
    printf '%d jobs, %d records of them, %d said to be dropped\n' "$jobs" "$told" "$lost"
}
printf -- '--- a burst\n'
options '--log-jobs all'
expect 'bench runs 20,000 jobs' burst 20000
tell
expect 'its first job is one more' equals "$jobs" 20001
expect 'records and dropped ones are two for each job' equals $((told + lost)) $((jobs * 2))
printf -- '--- a burst while the journal stands still\n'
batch --jobs 1 >/dev/null
in_box systemctl kill --signal=STOP systemd-journald.service
expect 'nobody waits for the log: bench runs 10,000 jobs' burst 10000
in_box systemctl kill --signal=CONT systemd-journald.service
tell
expect 'two jobs came before' equals "$jobs" 10002
expect 'this is more than is kept for it' test "$lost" -gt 0
expect 'records and dropped ones are two for each job' equals $((told + lost)) $((jobs * 2))
printf -- '--- an end while the journal stands still\n'
batch --jobs 1 >/dev/null
invocation=$(property InvocationID)
in_box systemctl kill --signal=STOP systemd-journald.service
burst 3000
in_box systemctl --quiet stop kvmjobd.service 2>/dev/null
expect 'the service does not wait for the log' property_is Result success
in_box systemctl kill --signal=CONT systemd-journald.service
records _SYSTEMD_INVOCATION_ID="$invocation" >/dev/null
# On its standard error, as the last thing that it can do.
lost=$(in_box journalctl --output=cat _SYSTEMD_INVOCATION_ID="$invocation" _TRANSPORT=stdout |
    sed -n 's/^kvmjobd: warning: \([0-9]*\) log records were dropped.*/\1/p')
told=$(count _SYSTEMD_INVOCATION_ID="$invocation" _TRANSPORT=journal)
printf '%s records, %s said to be dropped\n' "$told" "$lost"
# Confined, ready; before the end: leaving, draining, summary, stopped.
expect 'what was not written is told' equals $((told + lost)) $((3002 * 2 + 6))
# journald's own "Suppressed N messages from UNIT".
expect 'journald held nothing back' equals "$(records MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e)" ''
finish
