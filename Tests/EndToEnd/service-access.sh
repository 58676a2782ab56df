#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Who may use the service, under a real systemd: the socket's permissions, what a stranger is told, and whose jobs are whose.
#
#   service-access.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob
#
# Needs root, systemd and /dev/kvm. Exit status: 0 passed, 77 did not run, else failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
. Tests/EndToEnd/box.sh
boot access
options '--log-jobs all'
add_users
submit=(kvmjob submit --socket "$socket" --hex f4)
batch_as() { as "$1" "$repository/Tests/EndToEnd/batch.py" "$socket" "${@:2}"; }

printf -- '--- the socket\n'
expect 'root owns the socket, the group may use it, others nothing' \
    equals "$(in_box stat --format='%A %U %G' $socket)" 'srw-rw---- root kvmjob'
expect 'only root may put something in its place' \
    equals "$(in_box stat --format='%A %U %G' ${socket%/*})" 'drwxr-xr-x root root'

printf -- '--- a member of the group\n'
expect 'it submits' as ann "${submit[@]}"
expect 'and by a client of its own' batch_as ann --jobs 3 --label of-ann
expect 'another one, too' batch_as bob --jobs 2 --label of-bob
for pair in ann:2001:3 bob:2002:2; do
    IFS=: read -r user uid jobs <<<"$pair"
    expect "jobs of $user belong to $uid in the journal" equals "$(count MESSAGE_ID=$finished KVMJOB_UID=$uid KVMJOB_LABEL=of-$user)" "$jobs"
    expect 'and to nobody else' equals "$(count MESSAGE_ID=$finished KVMJOB_LABEL=of-$user)" "$jobs"
done
expect 'it cannot put itself in front of the service' contains "$(as ann sh -c "rm -f $socket 2>&1")" denied
worker=$(property MainPID)
refuses_signal() { contains "$(as ann sh -c "kill -$1 $worker 2>&1")" 'not permitted'; }
expect 'nor stop the worker' refuses_signal TERM
expect 'nor send it any other signal' refuses_signal WINCH

printf -- '--- a stranger\n'
as_stranger() { as stranger sh -c '"$@" 2>&1; echo "status $?"' sh "${submit[@]}"; }
said=$(as_stranger)
expect 'is told what is wrong' contains "$said" "no permission to use $socket"
expect 'and what to do' contains "$said" 'sudo usermod -aG kvmjob $USER, then log in again'
expect 'with status 125' contains "$said" 'status 125'
expect 'a client of its own meets the same' contains "$(batch_as stranger)" PermissionError
expect 'and left no trace in the log' equals "$(count KVMJOB_UID=2003)" 0
in_box usermod -aG kvmjob stranger
expect 'who did that may submit' contains "$(as_stranger)" 'status 0'
finish
