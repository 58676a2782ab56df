# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Several throw-away machines on one network, for the tests of kvmjob batch --via; sourced behind expect.sh, from the repository's
# folder. Needs root, systemd, ip and /dev/kvm.
#
# A machine is a box (systemd-box) in a network namespace of its own, whose veth ends at a bridge in a namespace for all. Every machine
# shows one folder of the host's, $shared, at /shared: that is their shared storage. kvmjob is at /shared/bin/kvmjob.

kvmjob=$(readlink -f -- "${kvmjob:-.build/debug/kvmjob}")
[ -x "$kvmjob" ] || did_not_run "there is no $kvmjob (swift build)"
PATH=$PATH:/usr/sbin:/sbin
reason=$(Tests/EndToEnd/systemd-box check 2>&1) || did_not_run "$reason"
[ -c /dev/kvm ] || did_not_run 'there is no /dev/kvm'
command -v ip >/dev/null || did_not_run 'there is no ip: apt-get install iproute2'

repository=$PWD
farm=kvmjob-$$
shared=$(mktemp -d)
chmod 755 "$shared"
said=$shared
mkdir -m 755 "$shared/bin"
cp "$kvmjob" "$shared/bin/kvmjob"
install -d -m 1777 "$shared/work"
up=()
wired=()
leave() {
    [ ${#up[@]} = 0 ] || Tests/EndToEnd/systemd-box stop "${up[@]}"
    for name in "${wired[@]}" switch; do ip netns delete "$farm-$name" 2>/dev/null; done
    rm -rf -- "$shared"
}
trap leave EXIT
ip netns add "$farm-switch" 2>/dev/null || did_not_run 'network namespaces are not permitted'
ip -n "$farm-switch" link add switch type bridge && ip -n "$farm-switch" link set switch up

# The machines' addresses by name: in /etc/hosts of each.
declare -A address=()
# wire NAME ADDRESS: a network for a machine that is to be started.
wire() {
    address[$1]=$2
    wired+=("$1")
    up+=("$farm-$1")
    ip netns add "$farm-$1"
    ip -n "$farm-switch" link add "port-$1" type veth peer name eth0 netns "$farm-$1"
    ip -n "$farm-switch" link set "port-$1" master switch up
    ip -n "$farm-$1" address add "$2/24" dev eth0
    ip -n "$farm-$1" link set eth0 up
    ip -n "$farm-$1" link set lo up
}

# start NAME: boots a machine that is wired. It has users ann (2001) and bob (2002), of whom ann may use /dev/kvm.
start() {
    local name=$1 root other
    Tests/EndToEnd/systemd-box start "$farm-$name" --net "/run/netns/$farm-$name" --hostname "$name" --cgroup hybrid \
        --bind "$shared:/shared" --bind "$repository:$repository:ro" --memory 4G || exit 1

    root=$(Tests/EndToEnd/systemd-box root "$farm-$name")
    for other in "${!address[@]}"; do printf '%s %s\n' "${address[$other]}" "$other"; done >>"$root/etc/hosts"
    on "$name" sh -ec 'useradd --create-home --uid 2001 --groups kvm ann; useradd --no-create-home --uid 2002 bob'
}

# Where ann is: the shared work folder.
place=/shared/work
# on NAME COMMAND...: as root; as_ann NAME COMMAND...: as a user, in that folder.
on() {
    local name=$1
    shift
    Tests/EndToEnd/systemd-box exec "$farm-$name" -- "$@"
}
as_ann() {
    local name=$1
    shift
    Tests/EndToEnd/systemd-box exec "$farm-$name" -u ann -e HOME=/home/ann -- sh -c 'cd "$0" && exec "$@"' "$place" "$@"
}
# Loses a machine at once with all that it did, as a power cut does.
kill_machine() { Tests/EndToEnd/systemd-box stop "$farm-$1"; }
cut_off() { ip -n "$farm-switch" link set "port-$1" down; }
reconnect() { ip -n "$farm-switch" link set "port-$1" up; }

# What a batch has come to that was submitted under a name: its manifest has 400 jobs, its results and its spool are in $work, and what it
# said is in $said.
results_of() { find "$work/$1.jsonl.spool/results" -type f 2>/dev/null | wc -l; }
has_results() { [ "$(results_of "$1")" -ge "$2" ]; }
# wait_for: the submitter's status is in $status. Not in expect's shell, whose child it is not.
wait_for() { wait "$submitter"; status=$?; }
# ended NAME STATUS: what it said is shown where it ended otherwise.
ended() { equals "$status" "$2" || { tail -n 20 "$said/$1.err"; return 1; }; }
whole() { Tests/EndToEnd/farm/results.py check 400 "$work/$1.jsonl"; }
