#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# The service ends and begins under its clients, under a real systemd: stop, restart, upgrade and idle exit lose no job.
#
#   service-stop.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob
#
# Needs root, systemd and /dev/kvm. Exit status: 0 passed, 77 did not run, else failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
. Tests/EndToEnd/box.sh
boot stop
stream() { in_box "$repository/Tests/EndToEnd/stream.py" "$socket" "$@"; }

# 50 endless loops of 50 ms each: the end comes after 10 results, and 40 jobs are then running or queued.
# stopping WHAT COMMAND
stopping() {
    printf -- '--- %s in mid-batch\n' "$1"
    report_of batch --jobs 50 --image ebfe --wall-ms 50 --when RESULT:10 --run "$2"
    expect 'all accepted jobs are answered' says unanswered '[]'
    expect 'all 50 ran to their own end' says outcomes '{"wall-time-exhausted": 50}'
    expect 'the client was told that the worker drains' says goaway 1
    expect 'a job submitted after that was refused as draining' says refusals '{"75": 1}'
    expect 'the command went well' says run_status 0
    expect 'the service left with success' eventually 10 property_is ActiveState inactive
    expect 'and its result is success' property_is Result success
}
options '--slots 2'
stopping 'SIGTERM' 'systemctl kill --signal=TERM kvmjobd.service'
stopping 'systemctl stop kvmjobd.service' 'systemctl --quiet stop kvmjobd.service 2>/dev/null'
expect 'the socket goes on' socket_listens
stopping 'systemctl stop of socket and service' 'systemctl --quiet stop kvmjobd.socket kvmjobd.service'
expect 'the socket is gone' in_box test ! -e $socket
said=$(in_box kvmjob submit --socket $socket --hex f4 2>&1)
expect 'kvmjob says what to start' contains "$said" "there is no socket at $socket: start kvmjobd.socket"
in_box systemctl start kvmjobd.socket

printf -- '--- a short drain\n'
options '--slots 2 --drain-timeout 200ms'
report_of batch --jobs 4 --image ebfe --wall-ms 60000 --when STARTED:2 --run 'systemctl --quiet stop kvmjobd.service 2>/dev/null'
expect 'it answers all jobs too' says unanswered '[]'
expect 'by cancelling them' says outcomes '{"cancelled by drain": 4}'

printf -- '--- clients that come during a long drain\n'
options '--slots 2'
# The job that is waited for takes longer than kvmjob waits for an answer, and not so long as other clients may.
batch --jobs 1 --image ebfe --wall-ms 7000 --when STARTED:1 --run 'systemctl --quiet stop kvmjobd.service 2>/dev/null' >/dev/null &
client=$!
expect 'the service is stopping' eventually 10 property_is ActiveState deactivating
batch --jobs 1 --label patient >/dev/null &
patient=$!
said=$(in_box kvmjob submit --socket $socket --hex f4 2>&1)
expect 'kvmjob gives up with status 125' equals $? 125
expect 'and says what may be the matter' contains "$said" 'it ends its last jobs before a restart'
wait $client
expect 'the job came to its end' equals $? 0
wait $patient
expect 'a client that waits is served by the next worker' equals $? 0

printf -- '--- restarts and an upgrade under a stream of clients\n'
options '--slots 2'
program=/usr/libexec/kvmjob/kvmjobd
batch >/dev/null
first=$(in_box stat --dereference --format=%i "/proc/$(property MainPID)/exe")
# As a package is upgraded: the new file takes the old one's place while that runs.
upgrade="cp $program $program.new && mv $program.new $program && systemctl restart kvmjobd.service"
reload="sed -i 's/--slots 2/--slots 3/' $units/kvmjobd.service.d/test.conf && systemctl daemon-reload"
report_of stream --connections 500 --clients 4 --long 2 --long-ms 1500 --commands 12 \
    --when 100 --run 'systemctl restart kvmjobd.service' --when 250 --run "$upgrade" \
    --when 350 --run "$reload" --when 420 --run 'systemctl restart kvmjobd.service'
status=$?
printf '%s\n' "$report"
expect 'no job is lost' says lost 0
expect 'long jobs that ran meanwhile came to their own ends' says long_answered 2
expect 'every restart went well' says run_status '[0, 0, 0, 0]'
expect 'a changed unit counts from the next start on' says slots '[2, 3]'
expect 'and nothing else was wrong' equals "$status" 0
second=$(in_box stat --dereference --format=%i "/proc/$(property MainPID)/exe")
expect 'the new program serves' equals "$second" "$(in_box stat --format=%i $program)"
expect 'which is another file' test "$first" != "$second"

printf -- '--- idle exit\n'
options '--idle-exit 1s'
expect 'it serves' batch --jobs 1
expect 'it leaves when idle' eventually 15 property_is ActiveState inactive
expect 'and its result is success' property_is Result success
expect 'the next connection starts it again' batch --jobs 1
# It looks once a second, and with gaps this long it often is idle just then.
options '--idle-exit 0s'
before=$(count MESSAGE_ID=$ready)
report_of stream --connections 200 --clients 2 --gap-ms 100
expect 'with clients that come all the time, none is lost' says lost 0
expect 'and none turned away' says answered 200
expect 'although it left again and again' test "$(($(count MESSAGE_ID=$ready) - before))" -ge 2
finish
