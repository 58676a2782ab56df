#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# kvmjob batch --via slurm on a real cluster: slurmctld, slurmd and munge on machines of their own (boxes on a bridge). 400 jobs, of which
# none may be lost or doubled, and a node that is lost on the way; a batch that is stopped leaves no virtual machine behind.
#
#   slurm.sh [--all] [KVMJOB]         default .build/debug/kvmjob
#
# With --all, further: a node that is cut off, a controller that is restarted, and killed while it starts tasks, a submitter that is
# killed, tasks that somebody holds, and what sbatch refuses.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
all=
[ "${1:-}" = --all ] && { all=1; shift; }
kvmjob=${1:-.build/debug/kvmjob}
nodes=(n1 n2)
. Tests/EndToEnd/farm/machines.sh
. Tests/EndToEnd/farm/cluster.sh
work=$shared/work
cc -O1 -static -o "$work/number" Tests/EndToEnd/farm/number.c || did_not_run 'there is no C compiler: apt-get install gcc'
Tests/EndToEnd/farm/results.py make 400 100 >"$work/jobs.jsonl"
# A chunk of these takes long enough that no node is lost between two.
Tests/EndToEnd/farm/results.py make 400 250 >"$work/slow.jsonl"
start_cluster

# submit FILE NAME [OPTION...]: the batch in the background, as ann; $submitter is its process.
submit() {
    local file=$1 name=$2
    shift 2
    as_ann head /shared/bin/kvmjob batch "$file.jsonl" --via slurm --job-time 100ms --out "$name.jsonl" "$@" \
        >"$work/$name.out" 2>"$said/$name.err" </dev/null &
    submitter=$!
}

begun=$SECONDS
submit jobs quiet
wait_for
expect 'a batch ends well' ended quiet 0
expect 'with one result of each of 400 jobs' whole quiet
expect 'and leaves nothing behind' eventually 20 nothing_left n1 n2
printf '        400 jobs on two nodes: %d s\n' $((SECONDS - begun))

begun=$SECONDS
submit slow killed
expect 'a batch runs' eventually 60 has_results killed 20
kill_machine n1
wait_for
expect 'a node is lost, and the batch ends well' ended killed 0
expect 'with one result of each of 400 jobs' whole killed
expect 'its task was requeued and pulled forward' grep -q 'was requeued, and is pulled forward' "$said/killed.err"
printf '        with a node lost: %d s\n' $((SECONDS - begun))
start_node n1
expect 'the node comes back' eventually 60 all_idle

# Ctrl-C, while guests run for as long as they may.
printf '{"label":"long","hex":"eb fe","wall_time":"50s"}\n%.0s' 1 2 3 4 >"$work/long.jsonl"
as_ann head env --default-signal=INT /shared/bin/kvmjob batch long.jsonl --via slurm --out stopped.jsonl >"$work/stopped.out" \
    2>"$said/stopped.err" </dev/null &
submitter=$!
expect 'guests run' eventually 60 machines_on n1
on head pkill -INT -f 'kvmjob batch long.jsonl'
expect 'Ctrl-C ends the batch' eventually 30 bash -c "! kill -0 $submitter 2>/dev/null"
wait "$submitter"
expect 'and no task and no virtual machine is left' eventually 20 nothing_left n1 n2
expect 'it says how to go on' grep -q -- '--resume' "$said/stopped.err"

[ -n "$all" ] || finish
. Tests/EndToEnd/farm/slurm-all.sh
finish
