#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# kvmjob batch --via parallel: GNU parallel over ssh to two machines (boxes on a bridge) with real sshd, which share nothing with the
# submitter's. 400 jobs, of which none may be lost or doubled, and a machine that is lost on the way.
#
#   parallel.sh [--all] [KVMJOB]      default .build/debug/kvmjob
#
# With --all, further: a machine that is cut off, a submitter that is stopped and one that is killed, and a machine that is none.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
all=
[ "${1:-}" = --all ] && { all=1; shift; }
kvmjob=${1:-.build/debug/kvmjob}
. Tests/EndToEnd/farm/machines.sh
for program in parallel rsync sshd ssh ssh-keygen; do
    command -v $program >/dev/null || did_not_run "there is no $program: apt-get install parallel rsync openssh-server"
done

mkdir "$shared/ssh"
ssh-keygen -q -t ed25519 -N '' -f "$shared/ssh/key" && ssh-keygen -q -t ed25519 -N '' -f "$shared/ssh/host" ||
    did_not_run 'ssh-keygen makes no keys'
# let_in NAME: ann may come in with the key; kvmjob is in the PATH there.
let_in() {
    local root
    root=$(Tests/EndToEnd/systemd-box root "$farm-$1")
    ln -s /shared/bin/kvmjob "$root/usr/local/bin/kvmjob"
    rm -f "$root"/etc/ssh/ssh_host_*
    install -m 600 "$shared/ssh/host" "$root/etc/ssh/ssh_host_ed25519_key"
    install -d -o 2001 -g 2001 -m 700 "$root/home/ann/.ssh"
    install -o 2001 -g 2001 -m 600 "$shared/ssh/key.pub" "$root/home/ann/.ssh/authorized_keys"
    install -o 2001 -g 2001 -m 600 "$shared/ssh/key" "$root/home/ann/.ssh/id_ed25519"
    for host in far1 far2 nowhere; do printf '%s %s\n' "$host" "$(cut -d' ' -f1,2 "$shared/ssh/host.pub")"; done \
        >"$root/home/ann/.ssh/known_hosts"
}
start_far() { start "$1" && let_in "$1" && on "$1" systemctl start ssh; }

# The batch and its spool are on a disk of the submitter's own.
place=/home/ann
wire near 10.78.0.1
wire far1 10.78.0.11
wire far2 10.78.0.12
start near & start_far far1 & start_far far2 &
wait
let_in near
work=$(Tests/EndToEnd/systemd-box root "$farm-near")/home/ann
cc -O1 -static -o "$work/number" Tests/EndToEnd/farm/number.c || did_not_run 'there is no C compiler: apt-get install gcc'
Tests/EndToEnd/farm/results.py make 400 100 >"$work/jobs.jsonl"
answers() { as_ann near ssh -o BatchMode=yes "$1" kvmjob --version; }
expect 'the first machine answers' eventually 30 answers far1
expect 'and the second' eventually 30 answers far2

submit() {
    local name=$1
    shift
    as_ann near env --default-signal=INT kvmjob batch jobs.jsonl --via parallel --hosts far1,far2 --job-time 100ms --out "$name.jsonl" "$@" \
        >"$said/$name.out" 2>"$said/$name.err" </dev/null &
    submitter=$!
}
nothing_left() {
    local name
    for name in "$@"; do
        on "$name" sh -c '! pgrep -af "[k]vmjob worker" && ! ls -d /home/ann/.kvmjob-spool-* 2>/dev/null' || return
    done
}

begun=$SECONDS
submit quiet
wait_for
expect 'a batch ends well' ended quiet 0
expect 'with one result of each of 400 jobs' whole quiet
expect 'and leaves nothing behind' eventually 20 nothing_left far1 far2
printf '        400 jobs on two machines: %d s\n' $((SECONDS - begun))

begun=$SECONDS
submit killed
expect 'a batch runs' eventually 60 has_results killed 60
kill_machine far1
wait_for
expect 'a machine is lost, and the batch ends well' ended killed 0
expect 'with one result of each of 400 jobs' whole killed
printf '        with a machine lost: %d s\n' $((SECONDS - begun))
[ -n "$all" ] || finish

start_far far1
expect 'it comes back' eventually 30 answers far1
begun=$SECONDS
submit cut
expect 'a batch runs' eventually 60 has_results cut 60
cut_off far2
wait_for
expect 'a machine is cut off, and the batch ends well' ended cut 0
expect 'with one result of each of 400 jobs' whole cut
printf '        with a machine cut off: %d s\n' $((SECONDS - begun))
expect 'what is left there is told' grep -q 'could not tidy up on far2: remove ~/\.kvmjob-spool-[0-9a-f]* there' "$said/cut.err"
reconnect far2
expect 'it comes back' eventually 30 answers far2
on far2 sh -c 'rm -r /home/ann/.kvmjob-spool-*'

submit left
expect 'a batch runs' eventually 60 has_results left 60
on near pkill -KILL -f 'kvmjob batch jobs.jsonl'
wait "$submitter"
expect 'a submitter that is killed leaves no worker behind' eventually 30 on far1 sh -c '! pgrep -af "[k]vmjob worker"'
submit left --resume
wait_for
expect 'and --resume ends well' ended left 0
expect 'with one result of each of 400 jobs' whole left

submit stopped
expect 'a batch runs' eventually 60 has_results stopped 60
on near pkill -INT -f 'kvmjob batch jobs.jsonl'
wait "$submitter"
expect 'Ctrl-C ends the workers and leaves nothing behind' eventually 30 nothing_left far1 far2
expect 'it says how to go on' grep -q -- '--resume' "$said/stopped.err"

as_ann near kvmjob batch jobs.jsonl --via parallel --hosts nowhere --out nowhere.jsonl >"$said/nowhere.out" 2>"$said/nowhere.err" </dev/null
expect 'a machine that is none ends the batch' equals $? 125
expect 'and ssh says why' grep -qi 'could not resolve\|Name or service' "$said/nowhere.err"
finish
