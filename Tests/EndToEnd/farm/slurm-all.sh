# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# The longer part of slurm.sh; sourced there.

begun=$SECONDS
submit slow cut
expect 'a batch runs' eventually 60 has_results cut 20
cut_off n1
wait_for
expect 'a node is cut off, and the batch ends well' ended cut 0
expect 'with one result of each of 400 jobs' whole cut
printf '        with a node cut off: %d s\n' $((SECONDS - begun))
reconnect n1
expect 'the node comes back' eventually 60 all_idle

begun=$SECONDS
submit slow restarted
expect 'a batch runs' eventually 60 has_results restarted 20
on head systemctl restart slurmctld
wait_for
expect 'the controller is restarted, and the batch ends well' ended restarted 0
expect 'with one result of each of 400 jobs' whole restarted
printf '        with the controller restarted: %d s\n' $((SECONDS - begun))
expect 'the nodes are idle again' eventually 60 all_idle

# Killed while it starts tasks, a controller may lose what it knew of them, and not trust its nodes any more. Whatever the submitter says is
# then done by whom it says.
mend() {
    local line
    while kill -0 "$submitter" 2>/dev/null; do
        line=$(grep -hoE '^  (you|an administrator of Slurm): .*' "$said/lost.err" | grep -vxFf "$work/mended" | head -n 1)
        if [ -n "$line" ]; then
            printf '%s\n' "$line" >>"$work/mended"
            printf '        does what it says:%s\n' "$line"
            case $line in
                '  you: '*) as_ann head sh -c "${line#*: }" ;;
                *) on head sh -c "${line#*: }" ;;
            esac
        fi
        sleep 0.2
    done
}
begun=$SECONDS
: >"$work/mended"
submit slow lost
expect 'tasks start' eventually 60 has_results lost 1
on head systemctl kill --signal=KILL slurmctld
on head systemctl reset-failed slurmctld
on head systemctl start slurmctld
mend
wait_for
expect 'the controller is killed, and the batch ends well' ended lost 0
expect 'with one result of each of 400 jobs' whole lost
printf '        with the controller killed: %d s\n' $((SECONDS - begun))
on head scontrol update NodeName=n1,n2 State=RESUME 2>/dev/null
expect 'the nodes are idle again' eventually 60 all_idle

submit slow left
expect 'a batch runs' eventually 60 has_results left 20
on head pkill -KILL -f 'kvmjob batch slow.jsonl'
wait "$submitter"
submit slow left --resume
wait_for
expect 'the submitter is killed, and --resume ends well' ended left 0
expect 'with one result of each of 400 jobs' whole left

submit slow held
expect 'tasks are there' eventually 60 has_results held 1
as_ann head sh -c 'scontrol hold $(squeue --noheader --states=PENDING --format=%F | sort -u)'
expect 'it says that tasks are held, and what releases them' eventually 60 grep -q 'you: scontrol release' "$said/held.err"
as_ann head sh -c "$(sed -n 's/^  you: \(scontrol release .*\)/\1/p' "$said/held.err" | head -n 1)"
wait_for
expect 'when that is done, the batch ends well' ended held 0
expect 'with one result of each of 400 jobs' whole held

submit slow refused --slurm-option=--partition=nowhere
wait_for
expect 'a partition that is none is refused' ended refused 125
expect 'with what to do' grep -q -- 'you: kvmjob batch ... --slurm-option=--partition=NAME' "$said/refused.err"

submit slow crowded --slots 9
expect 'more slots than a machine has are told' eventually 60 grep -q 'more is asked for than any machine' "$said/crowded.err"
on head pkill -INT -f 'kvmjob batch slow.jsonl'
wait_for
expect 'and Ctrl-C ends the batch' ended crowded 130
expect 'and nothing is left behind' eventually 20 nothing_left n1 n2
