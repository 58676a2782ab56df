#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Where the service keeps detached jobs, under a real systemd: whose the files are, that they outlive it, and what it does when it
# cannot use them.
#
#   service-state.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob
#
# Needs root, systemd, /dev/kvm and sqlite3. Exit status: 0 passed, 77 did not run, else failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
. Tests/EndToEnd/box.sh
command -v sqlite3 >/dev/null || did_not_run 'there is no sqlite3'
boot state
state=/var/lib/private/kvmjob
database=$state/jobs.sqlite
files_of() { in_box stat --format='%A %U %n' "$@"; }
# starts: what the worker counts in its database, read when it has ended.
starts() { in_box sqlite3 $database 'SELECT starts FROM worker'; }
fails_with() { equals "$(property ExecMainStatus)" "$1"; }

printf -- '--- files\n'
options ''
expect 'it serves' batch --jobs 1
expect 'the directory is that of the dynamic user alone' equals "$(files_of $state)" "drwx------ kvmjobd $state"
expect 'and so is the database' equals "$(files_of $database)" "-rw------- kvmjobd $database"
expect 'and its log' equals "$(files_of $database-wal)" "-rw------- kvmjobd $database-wal"
expect 'nothing else is there' equals "$(in_box ls -A $state | tr '\n' ' ')" 'jobs.sqlite jobs.sqlite-wal '
expect 'the worker is confined' contains "$(in_box sh -c 'journalctl --sync; journalctl --unit=kvmjobd -o cat')" 'confined: system calls by seccomp'

printf -- '--- restarts\n'
in_box systemctl restart kvmjobd.service
expect 'the next worker takes them over' batch --jobs 1
in_box systemctl kill --signal=KILL kvmjobd.service
expect 'and the one behind a worker that was killed' eventually 15 batch --jobs 1
in_box sh -c 'systemctl --quiet stop kvmjobd.service 2>/dev/null'
expect 'all three have counted' equals "$(starts)" 3
expect 'the database is whole' equals "$(in_box sqlite3 $database 'PRAGMA integrity_check')" ok
expect 'another user than before gets the files' in_box sh -ec "chown --recursive 64999 $state"
expect 'and serves' batch --jobs 1
expect 'they are its own again' equals "$(files_of $database)" "-rw------- kvmjobd $database"

printf -- '--- two workers and one directory\n'
said=$(in_box env -u LISTEN_FDS /usr/libexec/kvmjob/kvmjobd --socket /run/second.sock --state-dir $state --log-target stderr 2>&1)
expect 'the second leaves with status 74' equals $? 74
expect 'and says why' contains "$said" "another worker keeps its jobs in $database"
expect 'the first goes on' batch --jobs 1

printf -- '--- damage\n'
in_box sh -c 'systemctl --quiet stop kvmjobd.service 2>/dev/null'
in_box sh -ec "rm -f $database-wal; head -c 65536 /dev/urandom >$database.new; cp $database $database.good; cat $database.new >$database"
in_box systemctl start kvmjobd.service 2>/dev/null
expect 'a damaged database is not replaced' equals "$(in_box cmp $database $database.new 2>&1)" ''
expect 'the worker leaves with status 74' eventually 10 fails_with 74
expect 'and names the file' contains "$(in_box journalctl --unit=kvmjobd -o cat)" "/jobs.sqlite is damaged: file is not a database. Move it"
in_box sh -ec "mv $database $database.damaged; systemctl restart kvmjobd.service"
expect 'it serves when the file has been moved' batch --jobs 1
expect 'with a new one' equals "$(files_of $database)" "-rw------- kvmjobd $database"

printf -- '--- without a directory\n'
options '' 'StateDirectory='
expect 'it serves, and keeps nothing' batch --jobs 1
has_open() { in_box sh -c "ls -l /proc/$(property MainPID)/fd | grep -q jobs.sqlite"; }
expect 'no database is open' test "$(has_open; echo $?)" = 1
options ''
expect 'with the directory it serves again' batch --jobs 1
expect 'and has one open' has_open
finish
