#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# The units of deploy/ under a real systemd, in a throw-away box: what they are worth, activation, readiness, one process per
# connection, and a machine without KVM.
#
#   systemd.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob
#
# Needs root, systemd and /dev/kvm. Exit status: 0 passed, 77 did not run, else failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
. Tests/EndToEnd/box.sh

printf -- '--- units\n'
boot full
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
in_box sh -c "printf '\\364' >/tmp/halt.bin"
expect 'kvmjob submit runs a job on it' in_box kvmjob submit --socket "$socket" /tmp/halt.bin

printf -- '--- readiness\n'
in_box systemctl --quiet stop kvmjobd.service 2>/dev/null
# Between its start and its readiness lie some 30 ms, in which it finds out what KVM does here.
devices='systemctl start kvmjobd.service && readlink /proc/$(systemctl show --value --property=MainPID kvmjobd.service)/fd/*'
expect 'when systemctl start returns, KVM is open' contains "$(in_box sh -c "$devices")" /dev/kvm
expect 'and the service is active' property_is ActiveState active

printf -- '--- a worker that may not use KVM\n'
options '' SupplementaryGroups=
in_box systemctl --quiet start kvmjobd.service 2>/dev/null
expect 'systemctl start says that it failed' equals $? 1
expect 'the exit status is 69' property_is ExecMainStatus 69
expect 'the log says what to do' \
    contains "$(last MESSAGE SYSLOG_IDENTIFIER=kvmjobd PRIORITY=3)" 'no permission to open /dev/kvm: join the group'
options ''

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
boot bare --kvm-group -
in_box sh -c "kvmjob submit --socket $socket --hex f4 >/tmp/client 2>&1; echo \$? >/tmp/status" &
expect 'without /dev/kvm the log says so' eventually 10 has_record SYSLOG_IDENTIFIER=kvmjobd PRIORITY=3
expect 'and names the device' contains "$(last MESSAGE SYSLOG_IDENTIFIER=kvmjobd PRIORITY=3)" /dev/kvm
expect 'the exit status is 69' property_is ExecMainStatus 69
expect 'systemctl start says that it failed' equals "$(in_box systemctl --quiet start kvmjobd.service 2>/dev/null; echo $?)" 1
wait
expect 'kvmjob submit gives up with status 125' equals "$(in_box cat /tmp/status)" 125
expect 'and says where to look' contains "$(in_box cat /tmp/client)" 'see its log'
expect 'the socket is still there' socket_listens
finish
