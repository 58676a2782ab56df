#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# kvmjob submit --vcpus and --turn against a worker with two slots.
#
#   vcpus.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
kvmjobd=${1:-.build/debug/kvmjobd}
kvmjob=${2:-.build/debug/kvmjob}
[ -x "$kvmjobd" ] && [ -x "$kvmjob" ] || did_not_run "there is no $kvmjobd or no $kvmjob (swift build)"
[ -r /dev/kvm ] && [ -w /dev/kvm ] || did_not_run '/dev/kvm is not usable'

place=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$place"' EXIT
export KVMJOB_SOCKET=$place/socket
"$kvmjobd" --socket "$KVMJOB_SOCKET" --slots 2 --log-target stderr --drain-timeout 10s 2>"$place/log" &
eventually 10 test -S "$KVMJOB_SOCKET" || did_not_run "kvmjobd did not start: $(cat "$place/log")"

# What a Python expression makes of the JSON reports, r, of a submission.
of() {
    local expression=$1
    shift
    "$kvmjob" submit --json --wall-time 60s "$@" 2>"$place/errors" | python3 -c '
import json, sys
r = [json.loads(line) for line in sys.stdin]
print(eval(sys.argv[1]))' "$expression"
}
# says STATUS PART COMMAND...
says() {
    local status=$1 part=$2 output actual
    shift 2
    output=$(timeout 60 "$@" 2>&1 </dev/null)
    actual=$?
    equals "$actual" "$status" && contains "$output" "$part"
}

# mov cx, 1000; again: lock inc word [0x800]; loop again; hlt
locked='b9e803 f0ff060008 e2f9 f4'
# mov cx, 50; again: mov ax, [0x800]; inc ax; mov [0x800], ax; loop again; hlt
unlocked='b93200 a10008 40 a30008 e2f7 f4'
# mov ax, di; add al, '0'; out 0xe9, al; hlt
saying='89f8 0430 e6e9 f4'
# test di, di; jnz spin; mov al, 7; out 0xf4, al; spin: jmp spin
exiting='85ff 7504 b007 e6f4 ebfe'

expect 'both vCPUs are in the report' equals \
    "$(of '[(v["state"], v["registers"]["rdi"]) for v in r[0]["vcpus"]]' --vcpus 2 --hex "$locked")" \
    "[('halted', '0x0'), ('halted', '0x1')]"
expect 'a job with one has no list of them' equals "$(of 'r[0]["vcpus"]' --hex f4)" None
expect 'in turns each writes in its turn' equals "$("$kvmjob" submit --vcpus 2 --turn 7 --hex "$saying" 2>/dev/null)" 01
expect 'one that exits ends the job' says 7 'exited' "$kvmjob" submit --vcpus 2 --hex "$exiting"
expect 'people see each of them' says 7 'vcpu 1 stopped' "$kvmjob" submit --vcpus 2 --registers --hex "$exiting"
turns() { of '(r[0]["steps"]["used"], r[0]["steps"]["meter"], r[0]["digest"])' --vcpus 2 --turn 3 --deterministic --hex "$unlocked"; }
first=$(turns)
expect 'turns are counted exactly' contains "$first" "(404, 'exact', "
expect 'and are the same another time' equals "$(turns)" "$first"
"$kvmjob" submit --json --vcpus 2 --turn 3 --deterministic --hex "$unlocked" >"$place/report" 2>/dev/null
expect 'they can be replayed' says 0 '' "$kvmjob" replay "$place/report"

expect 'more vCPUs than slots are refused by name' says 126 'no more than 2' "$kvmjob" submit --vcpus 3 --hex f4
expect '17 are never taken' says 64 '--vcpus takes 1 to 16' "$kvmjob" submit --vcpus 17 --hex f4
expect 'a turn is for several' says 64 '--turn is for several' "$kvmjob" submit --turn 5 --hex f4
expect 'without turns nothing is deterministic' says 126 'ask for a turn' \
    "$kvmjob" submit --vcpus 2 --deterministic --hex f4
expect 'a user64 program has one' says 126 'user64 programs have one' \
    "$kvmjob" submit --vcpus 2 --mode user64 --hex 'b0 00 e6 f4'

# On the board of a PC the first one writes `mov al, '1'; out 0xe9, al; cli; hlt; jmp` to 0x8000, and starts the second there.
pc='c70500800000 b031e6e9 c70504800000 faf4ebfd c705f000e0fe ff010000'
pc+=' c7051003e0fe 00000001 c7050003e0fe 00450000 c7050003e0fe 08460000 faf4'
expect 'on board pc the second is started by the first' says 0 '1' \
    "$kvmjob" submit --board pc --mode protected32 --vcpus 2 --hex "$pc"
expect 'and one that is not started waits' says 0 'vcpu 1 waiting' \
    "$kvmjob" submit --board pc --vcpus 2 --registers --hex 'fa f4'

# Wide and narrow jobs together: all end, and the narrow ones keep no wide one from starting.
for _ in $(seq 1 40); do
    printf '{"hex": "%s"}\n{"hex": "%s", "vcpus": 2}\n' 'b9 00 10 49 75 fd f4' "$locked"
    printf '{"hex": "%s", "vcpus": 2, "turn": 5}\n' "$unlocked"
done >"$place/jobs"
expect 'a batch of wide and narrow jobs ends' says 0 '' timeout 100 \
    "$kvmjob" batch "$place/jobs" --out "$place/results"
expect 'every one of them halted' equals "$(python3 -c '
import collections, json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
print(len(rows), {row["outcome"] for row in rows}, len({row["job_id"] for row in rows}))' "$place/results")" "120 {'halted'} 120"

[ "$failures" -eq 0 ] && echo 'vcpus: all is well'
[ "$failures" -eq 0 ]
