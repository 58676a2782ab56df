# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# A cluster of Slurm on machines.sh: the machine head with slurmctld, and nodes n1, n2 with 4 processors and 4 kvm each.

command -v sbatch >/dev/null && command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null ||
    did_not_run 'there is no Slurm: apt-get install slurmctld slurmd slurm-client munge'

# The site's choices, in /etc/slurm of each machine. slurmd does not start on a machine with the first cgroups unless it is told of them;
# several jobs share one /dev/kvm, so that gres.conf has no File=.
configure() {
    local root
    root=$(Tests/EndToEnd/systemd-box root "$farm-$1")
    { cat Tests/EndToEnd/farm/slurm.conf
      printf 'NodeName=%s CPUs=4 Gres=kvm:4 State=UNKNOWN\n' "${nodes[@]}"
      printf 'PartitionName=farm Nodes=ALL Default=YES State=UP\n'; } >"$root/etc/slurm/slurm.conf"
    echo 'Name=kvm Count=4' >"$root/etc/slurm/gres.conf"
    echo 'CgroupPlugin=cgroup/v1' >"$root/etc/slurm/cgroup.conf"
}

# start_node NAME: boots it with slurmd; also again, when it was lost.
start_node() { start "$1" && configure "$1" && on "$1" systemctl start munge slurmd; }

# start_cluster: all at once, until every node is idle.
start_cluster() {
    local name number=10
    wire head 10.77.0.1
    for name in "${nodes[@]}"; do number=$((number + 1)); wire "$name" "10.77.0.$number"; done
    for name in "${nodes[@]}"; do start_node "$name" & done
    start head && configure head && on head systemctl start munge slurmctld
    wait
    expect 'the cluster is up' eventually 60 all_idle
}
idle_nodes() { on head sinfo --noheader --states=idle --format=%D; }
all_idle() { equals "$(idle_nodes)" "${#nodes[@]}"; }

# No task is left, and on no node a worker or somebody who uses a virtual machine.
nothing_left() {
    local name
    equals "$(on head squeue --noheader)" '' || return
    for name in "$@"; do no_machine_on "$name" || return; done
}
no_machine_on() {
    on "$1" sh -c 'if pgrep -af "[k]vmjob worker"; then exit 1; fi
        for fd in /proc/[0-9]*/fd/*; do
            case $(readlink "$fd") in */kvm | anon_inode:kvm-*) echo "$fd is a virtual machine"; exit 1 ;; esac
        done'
}
machines_on() { on "$1" sh -c 'ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q anon_inode:kvm-vm'; }
