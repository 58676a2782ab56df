#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Every check of kvmjob, from a fresh clone: installs what it needs, then lint, fences, build, unit and KVM tests, the
# wire's vectors in Python, and the end-to-end tests under a real systemd.
#
#   Tests/run.sh
#
# A part that cannot run here says so and is counted; without /dev/kvm the guests' tests are such a part. With /dev/kvm, a part
# that should have run guests and did not is a failure. The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/.." || exit 1

passed=0
failed=0
missing=()
started=$SECONDS

# part NAME COMMAND...: status 0 passed, 77 did not run, else failed.
part() {
    local name=$1 begun=$SECONDS status
    shift
    printf '\n=== %s\n' "$name"
    "$@"
    status=$?
    case $status in
        0) passed=$((passed + 1)); printf '=== %s: passed in %d s\n' "$name" $((SECONDS - begun)) ;;
        77) missing+=("$name"); printf '=== %s: DID NOT RUN\n' "$name" ;;
        *) failed=$((failed + 1)); printf '=== %s: FAILED with status %d\n' "$name" "$status" ;;
    esac
}

kvm_is_there() { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }

build() { swift build --build-tests; }

# What runs guests, opens sockets or waits for clocks; the rest is values.
timed='VMRuntimeTests|ProgramRun|KVMTests|WorkerTests|KVMJobClientTests|JobTransportTests|SystemdTests|ConformRun|Submission|Replay|Core|BenchRun|BareLoop|LiveTable|FarmRun|HostCommand'

unit() { swift test --skip-build --disable-xctest --skip "$timed"; }

# One after the other, since a guest's budget and a client's patience are time. Swift Testing skips a suite whose part is
# missing; with /dev/kvm there, these must not be skipped.
guests() {
    local log status suite
    log=$(mktemp)
    # Memory that was never written, or is free, has no zeros in it: who reads it does not get away with that.
    MALLOC_PERTURB_=165 swift test --skip-build --disable-xctest --no-parallel --filter "$timed" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    if kvm_is_there; then
        while read -r suite; do
            grep -q "Suite \"$suite\" passed" "$log" || { printf 'the suite "%s" did not run\n' "$suite"; status=1; }
        done <<'END'
Exits of KVM_RUN
Guests run to their ends
Steps are counted exactly
Stopped after every instruction
A counter's slices
Kicks at any instant change no count
A paused job goes on as if it had not been
Every outcome has a guest that reaches it
What a result tells of a job's end
The trace
Deterministic jobs
A guest in a bare loop
A load and its floor
A slot's machines between jobs
Jobs on a machine that was used before
Machines in their slots
Jobs on the board of a PC
What cannot be had with a board
A job from a snapshot goes on as if it had never stopped
Where a snapshot is taken
A run can be split anywhere
Snapshots, over a socket
A machine forgets its last guest's page tables
Users, and those who look alike
Page tables that change while a program runs
Linux programs
Linux programs with threads and signals
A batch on many machines
Several vCPUs in one job
vCPUs that take turns
What several vCPUs cannot have
END
    else
        printf '\n*** THE TESTS THAT RUN GUESTS DID NOT RUN: /dev/kvm is missing or not permitted ***\n\n'
    fi
    rm -f -- "$log"
    return "$status"
}

# The second line is for manual pages and completions; the third for the Python client, the page that kvmjob report
# makes, batches on many machines, and firmware; the others for Linux programs as guests: what compiles some, and others as they are.
deploy/setup.sh gdb python3 systemd util-linux openssh-client openssh-server procps \
    lowdown mandoc man-db bash-completion zsh fish \
    python3-venv chromium slurmctld slurmd slurm-client munge parallel rsync iproute2 seabios u-boot-qemu \
    gcc g++ musl-tools golang-go busybox-static bash-static lua5.4 sqlite3 jq xz-utils zstd bzip2 gawk m4 bc dc ed || exit 1
# Sudo resets the PATH, and systemd's tools live in sbin on some systems.
PATH=$PATH:/usr/sbin:/sbin

part 'lint' swift format lint --recursive --strict Sources Tests Package.swift
part 'fences' Tests/check-fences.sh
part 'build' build
part 'wire vectors in Python' python3 protocol/test_decoder.py
part 'Python client' python3 -m unittest discover --start-directory protocol/python/tests
part 'unit tests' unit
part 'tests that run guests' guests
# Beside these there are longer ones, which say themselves what they need: slurm.sh --all, parallel.sh --all, client-package.sh,
# and batches.py with more jobs and kills.
for script in options pages journal socket-activation snapshots vcpus programs hostile tenants control detached batches report client firmware \
    sandbox linux python remote images \
    systemd service-access service-state service-stop service-crash service-journal slurm parallel package; do
    for file in Tests/EndToEnd/"$script".sh Tests/EndToEnd/"$script".py; do
        [ -x "$file" ] && part "end to end: $script" "$file"
    done
done

if [ ${#missing[@]} -gt 0 ]; then printf '\n*** DID NOT RUN HERE: %s ***\n' "$(IFS=,; echo "${missing[*]}")"; fi
if kvm_is_there && [ ${#missing[@]} -gt 0 ]; then
    printf '/dev/kvm is there, so a part that did not run counts as failed, but for those that need root or systemd\n'
    for name in "${missing[@]}"; do
        case $name in *journal | *systemd | *service-* | *socket-activation | *package | *slurm | *parallel) ;; *) failed=$((failed + 1)) ;; esac
    done
fi
printf '\n%d s in all\n%d passed, %d failed\n' $((SECONDS - started)) "$passed" "$failed"
[ "$failed" -eq 0 ]
