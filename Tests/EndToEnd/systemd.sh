#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# The units of deploy/ under a real systemd, in a throw-away box (systemd-box): activation, journal, sandbox, watchdog,
# drain, idle exit, one process per connection, and a machine without KVM.
#
#   systemd.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob
#
# Needs root, systemd and /dev/kvm. Exit status: 0 passed, 77 did not run, else failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
kvmjobd=$(readlink -f -- "${1:-.build/debug/kvmjobd}")
kvmjob=$(readlink -f -- "${2:-.build/debug/kvmjob}")
for program in "$kvmjobd" "$kvmjob"; do [ -x "$program" ] || did_not_run "there is no $program (swift build)"; done
reason=$(Tests/EndToEnd/systemd-box check 2>&1) || did_not_run "$reason"
[ -c /dev/kvm ] || did_not_run 'there is no /dev/kvm'

full=kvmjob-$$
bare=kvmjob-$$-bare
# The box that the functions below speak to.
box=$full
repository=$PWD
socket=/run/kvmjob/kvmjobd.sock
units=/etc/systemd/system
trap 'Tests/EndToEnd/systemd-box stop "$full" "$bare"' EXIT

in_box() { Tests/EndToEnd/systemd-box exec "$box" -- "$@"; }
property() { in_box systemctl show --value --property="$1" kvmjobd.service; }
property_is() { equals "$(property "$1")" "$2"; }
batch() { in_box "$repository/Tests/EndToEnd/batch.py" "$socket" "$@"; }
# report_of BATCH_OPTIONS...: runs a batch, whose line of JSON is then in $report.
report_of() {
    report=$(batch "$@")
    local status=$?
    [ -n "$report" ] || { printf 'batch.py said nothing and ended with status %s\n' $status >&2; report='{}'; }
}
# Records of the daemon with these fields, oldest first, as JSON.
records() { in_box journalctl --sync && in_box journalctl --quiet --no-pager --output=json "$@"; }
# last FIELD MATCH...: the field of the newest such record.
last() {
    local name=$1
    shift
    records "$@" | tail -n1 | python3 -c 'import json, sys; print(json.loads(sys.stdin.readline() or "{}").get(sys.argv[1]))' "$name"
}
has_record() { [ -n "$(records "$@")" ]; }

# boot NAME BOX_OPTIONS...: a box with the units installed as deploy/README.md says and the socket started.
boot() {
    local name=$1 root
    shift
    Tests/EndToEnd/systemd-box start "$name" --bind "$repository:$repository:ro" "$@" || exit 1
    root=$(Tests/EndToEnd/systemd-box root "$name")
    install -D -m755 "$kvmjobd" "$root/usr/libexec/kvmjob/kvmjobd"
    install -D -m755 "$kvmjob" "$root/usr/local/bin/kvmjob"
    install -m644 deploy/kvmjobd.socket deploy/kvmjobd.service deploy/kvmjobd-each.socket deploy/kvmjobd-each@.service "$root$units/"
    install -D -m644 deploy/kvmjob.sysusers "$root/etc/sysusers.d/kvmjob.conf"
    Tests/EndToEnd/systemd-box exec "$name" -- sh -ec \
        'systemd-sysusers; systemctl daemon-reload; systemctl enable --quiet --now kvmjobd.socket'
}

# options TEXT [SETTING...]: a drop-in with these daemon options and further settings; the service starts anew.
options() {
    local text=$1
    shift
    # A stop says that the socket may start it again, which is what is wanted.
    in_box sh -ec "mkdir -p $units/kvmjobd.service.d; cat >$units/kvmjobd.service.d/test.conf; systemctl daemon-reload
                   systemctl --quiet stop kvmjobd.service 2>/dev/null" < <(
        printf '%s\n' '[Service]' 'ExecStart=' "ExecStart=/usr/libexec/kvmjob/kvmjobd $text" "$@"
    )
}

printf -- '--- units\n'
boot "$full"
expect 'systemd-analyze verify has nothing to say' equals \
    "$(in_box systemd-analyze verify $units/kvmjobd.socket $units/kvmjobd.service \
        $units/kvmjobd-each.socket $units/kvmjobd-each@.service 2>&1)" ''
exposure=$(in_box systemd-analyze security --no-pager kvmjobd.service | sed -n 's/.*exposure level for .*: \([0-9.]*\).*/\1/p')
printf 'exposure %s\n' "$exposure"
expect 'exposure is at most 0.4' awk -v e="$exposure" 'BEGIN { exit !(e != "" && e <= 0.4) }'

printf -- '--- activation\n'
expect 'nothing runs before the first connection' property_is ActiveState inactive
expect 'the first connection starts it and its jobs are answered' batch --jobs 3 --label first
expect 'it reported readiness' property_is ActiveState active
main=$(property MainPID)
confined() { in_box sh -c "grep -hE '^(Seccomp|NoNewPrivs):' /proc/$main/task/*/status" | sort -u | tr -d '\t\n'; }
expect 'every thread of it is confined' equals "$(confined)" 'NoNewPrivs:1Seccomp:2'
expect 'its log says so' contains "$(in_box sh -c 'journalctl --sync; journalctl -q -u kvmjobd')" 'confined: system calls by seccomp'
expect 'systemctl status shows the load' contains "$(property StatusText)" 'slots, '
in_box sh -c 'useradd --no-create-home --groups kvmjob member; useradd --no-create-home stranger'
as() { Tests/EndToEnd/systemd-box exec "$box" -u "$1" -- "$repository/Tests/EndToEnd/batch.py" "$socket"; }
expect 'a member of the group kvmjob may submit' as member
expect 'anybody else may not' contains "$(as stranger)" 'PermissionError'
in_box sh -c "printf '\\364' >/tmp/halt.bin"
expect 'kvmjob submit runs a job on it' in_box kvmjob submit --socket "$socket" /tmp/halt.bin

printf -- '--- journal\n'
ready=25830d75ee35494bb548d67ca635468d
finished=f5de9ba978ad48b082ca091f1a4aa676
expect 'readiness is found by its MESSAGE_ID' has_record MESSAGE_ID=$ready
expect 'the record names its source by module, not by path' \
    equals "$(last CODE_FILE MESSAGE_ID=$ready)" kvmjobd/Daemon.swift
expect 'the record has the identifier' equals "$(last SYSLOG_IDENTIFIER MESSAGE_ID=$ready)" kvmjobd
expect 'by default a job that went well leaves no record' equals "$(records MESSAGE_ID=$finished)" ''
options '--log-jobs all'
batch --jobs 1 --label logged --steps 10 >/dev/null
id=$(last KVMJOB_ID KVMJOB_LABEL=logged)
expect 'the record of a job is found by its id' has_record "KVMJOB_ID=$id" MESSAGE_ID=$finished
for pair in PRIORITY=6 KVMJOB_OUTCOME=halted KVMJOB_STEPS=1 KVMJOB_UID=0; do
    expect "it says $pair" equals "$(last "${pair%%=*}" KVMJOB_LABEL=logged)" "${pair#*=}"
done
for name in MESSAGE KVMJOB_EXITS KVMJOB_WALL_USEC KVMJOB_QUEUE_USEC OBJECT_PID; do
    expect "it has $name" test "$(last "$name" KVMJOB_LABEL=logged)" != None
done
batch --jobs 1 --label slow --image ebfe --wall-ms 10 >/dev/null
expect 'a job that failed has priority 4' equals "$(last PRIORITY KVMJOB_LABEL=slow)" 4

printf -- '--- drain\n'
options '--slots 2'
terminate='systemctl kill --signal=TERM kvmjobd.service'
# 50 endless loops of 50 ms each: SIGTERM comes after 10 results, and 40 jobs are then running or queued.
report_of --jobs 50 --image ebfe --wall-ms 50 --when RESULT:10 --run "$terminate"
expect 'SIGTERM in the middle of a batch: all accepted jobs are answered' equals "$(field "$report" unanswered)" '[]'
expect 'all 50 ran to their own end' equals "$(field "$report" outcomes)" '{"wall-time-exhausted": 50}'
expect 'the client was told that the worker drains' equals "$(field "$report" goaway)" 1
expect 'a job submitted after that was refused as draining' equals "$(field "$report" refusals)" '{"75": 1}'
expect 'the service left with success' eventually 10 property_is ActiveState inactive
expect 'and its result is success' property_is Result success

options '--slots 2 --drain-timeout 200ms'
report_of --jobs 4 --image ebfe --wall-ms 60000 --when STARTED:2 --run "$terminate"
expect 'a short drain answers all jobs too' equals "$(field "$report" unanswered)" '[]'
expect 'by cancelling them' equals "$(field "$report" outcomes)" '{"cancelled by drain": 4}'

printf -- '--- idle exit\n'
options '--idle-exit 1s'
expect 'it serves' batch --jobs 1
expect 'it leaves when idle' eventually 15 property_is ActiveState inactive
expect 'and its result is success' property_is Result success
expect 'the next connection starts it again' batch --jobs 1

printf -- '--- watchdog\n'
expect 'the watchdog of the unit is configured' property_is WatchdogUSec 30s
options '' WatchdogSec=2s
expect 'it serves' batch --jobs 1
restarts=$(property NRestarts)
in_box systemctl kill --signal=STOP kvmjobd.service
has_restarted() { [ "$(property NRestarts)" -gt "$restarts" ]; }
expect 'a hanging daemon is restarted' eventually 20 has_restarted
expect 'and serves again' batch --jobs 1

printf -- '--- one process per connection\n'
in_box sh -ec 'systemctl stop kvmjobd.socket kvmjobd.service; systemctl start kvmjobd-each.socket'
socket=/run/kvmjob/kvmjobd-each.sock
each() { in_box systemctl list-units --plain --no-legend --state=active 'kvmjobd-each@*' | awk '{ print $1 }'; }
nobody_left() { equals "$(each)" ''; }
# Two clients that stay until they have been looked at: in their workers' units, and for their users.
(batch --jobs 1 --image ebfe --wall-ms 8000 >/dev/null) &
(batch --jobs 1 --image ebfe --wall-ms 8000 >/dev/null) &
two_there() { [ "$(each | wc -l)" = 2 ]; }
expect 'two connections have two workers' eventually 10 two_there
users() { for unit in $(each); do in_box systemctl show --value --property=UID "$unit"; done | sort -u; }
expect 'which are two users' equals "$(users | wc -l) $(users | grep -c '^0$')" '2 0'
one=$(each | head -n1)
expect 'each has a bound on its memory' equals "$(in_box systemctl show --value --property=MemoryMax "$one")" 2147483648
each_exposure=$(in_box systemd-analyze security --no-pager "$one" | sed -n 's/.*exposure level for .*: \([0-9.]*\).*/\1/p')
expect 'its exposure is at most 0.4' awk -v e="$each_exposure" 'BEGIN { exit !(e != "" && e <= 0.4) }'
expect 'a further connection is served' batch --jobs 2
expect 'nobody is left' eventually 20 nobody_left
socket=/run/kvmjob/kvmjobd.sock

printf -- '--- no KVM\n'
boot "$bare" --kvm-group -
box=$bare
batch --jobs 1 >/dev/null &
client=$!
expect 'without /dev/kvm the log says so' eventually 10 has_record SYSLOG_IDENTIFIER=kvmjobd PRIORITY=3
expect 'and names the device' contains "$(last MESSAGE SYSLOG_IDENTIFIER=kvmjobd PRIORITY=3)" /dev/kvm
expect 'the exit status is 69' property_is ExecMainStatus 69
expect 'the socket is still there' equals "$(in_box systemctl is-active kvmjobd.socket)" active
kill "$client" 2>/dev/null
finish
