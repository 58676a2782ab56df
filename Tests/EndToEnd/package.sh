#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Installs kvmjob in a throw-away box (systemd-box) as people do, uses it as an ordinary user, upgrades it in the middle of a
# job, gives it wrong settings, and takes it away again, after which nothing may be left.
#
#   package.sh                 what deploy/install.sh installs of .build/debug
#   package.sh PACKAGE.deb     the Debian package that deploy/build-deb.sh built
#
# Needs root, systemd and /dev/kvm. Exit status: 0 passed, 77 did not run, else failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
deb=${1:+$(readlink -f -- "$1")}
[ -z "$deb" ] || [ -f "$deb" ] || did_not_run "there is no $1 (deploy/build-deb.sh)"
[ -n "$deb" ] || [ -x .build/debug/kvmjobd ] || did_not_run 'there is no .build/debug/kvmjobd (swift build)'
reason=$(Tests/EndToEnd/systemd-box check 2>&1) || did_not_run "$reason"
[ -c /dev/kvm ] || did_not_run 'there is no /dev/kvm'
command -v lowdown >/dev/null || did_not_run 'there is no lowdown (apt-get install lowdown)'

box=kvmjob-$$-package
repository=$PWD
socket=/run/kvmjob/kvmjobd.sock
work=$(mktemp -d)
trap 'Tests/EndToEnd/systemd-box stop "$box"; rm -rf -- "$work"' EXIT

in_box() { Tests/EndToEnd/systemd-box exec "$box" -- "$@"; }
# as USER COMMAND...: in the box, in that user's home.
as() { Tests/EndToEnd/systemd-box exec "$box" -u "$1" -- env -C / HOME=/tmp "${@:2}"; }
property() { in_box systemctl show --value --property="$1" kvmjobd.service; }
property_is() { equals "$(property "$1")" "$2"; }
# record FIELD MATCH...: the field of the newest such record of the journal.
record() {
    in_box journalctl --sync
    in_box journalctl --quiet --no-pager --output=json "${@:2}" | tail -n1 |
        python3 -c 'import json, sys; print(json.loads(sys.stdin.readline() or "{}").get(sys.argv[1]))' "$1"
}

# What is on the machine: files, users and groups, units. Left out is what installing or running anything changes: logs, caches,
# the package manager's own books, the catalog's database, and backups of the user databases.
machine() {
    local churn=(/var/log /var/cache /var/tmp /var/lib/apt /var/lib/PackageKit /var/lib/dpkg/triggers /var/lib/dpkg/lock '/var/lib/dpkg/*-old'
        /var/lib/dpkg/lock-frontend /var/lib/systemd/catalog /var/lib/systemd/timers /var/lib/systemd/linger '/etc/*-' /etc/.pwd.lock
        /run/systemd /run/log /run/lock /run/dbus)
    local expression=() path
    for path in "${churn[@]}"; do expression+=(-path "$path" -prune -o); done
    in_box find /boot /etc /home /run /srv /usr /var "${expression[@]}" -print | sort
    in_box sh -c 'sed "s/^/user /" /etc/passwd; sed "s/^/group /" /etc/group; systemctl list-unit-files --no-legend | sed "s/^/unit /"' |
        sort
}

if [ -n "$deb" ]; then
    printf -- '--- %s\n' "${deb##*/}"
    # The same package with a later version, for the upgrade.
    dpkg-deb --raw-extract "$deb" "$work/later" && sed -i 's/^Version: .*/&+later/' "$work/later/DEBIAN/control" &&
        dpkg-deb --root-owner-group --build "$work/later" "$work/kvmjob-later.deb" >/dev/null || exit 1
    cp "$deb" "$work/kvmjob.deb"
    install_it() { in_box env DEBIAN_FRONTEND=noninteractive apt-get install -y "$work/kvmjob.deb"; }
    upgrade="dpkg -i $work/kvmjob-later.deb"
    remove_it() { in_box dpkg --remove kvmjob; }
    purge_it() { in_box dpkg --purge kvmjob; }
else
    printf -- '--- deploy/install.sh\n'
    deploy/install.sh "DESTDIR=$work/tree" prefix=/usr build=.build/debug || exit 1
    install_it() { in_box sh -ec "cp -a --no-preserve=ownership $work/tree/. /; chown root:root /etc /usr
        systemd-sysusers; systemctl daemon-reload; journalctl --update-catalog
        systemctl enable --quiet --now kvmjobd.socket"; }
    # What a user does: the new program over the old one, which must not be written into, then a restart.
    upgrade="cp --remove-destination $work/tree/usr/libexec/kvmjob/kvmjobd /usr/libexec/kvmjob/ && systemctl try-restart kvmjobd"
    remove_it() { in_box sh -ec "systemctl disable --quiet --now kvmjobd.socket; systemctl stop kvmjobd.service
        $repository/deploy/install.sh --remove prefix=/usr; systemctl daemon-reload; journalctl --update-catalog"; }
    purge_it() { in_box sh -ec 'rmdir /run/kvmjob; groupdel kvmjob'; }
fi
Tests/EndToEnd/systemd-box start "$box" --bind "$repository:$repository:ro" --bind "$work:$work:ro" || exit 1
# Images for containers are told to leave the manual out.
in_box sh -c 'rm -f /etc/dpkg/dpkg.cfg.d/docker /etc/dpkg/dpkg.cfg.d/excludes; useradd --no-create-home alice; useradd --no-create-home bob
    grep -q "^kvm:" /etc/group || groupadd --system kvm'
in_box systemctl daemon-reload
machine >"$work/before"

printf -- '--- install\n'
expect 'it installs' install_it
expect 'the socket is enabled' equals "$(in_box systemctl is-enabled kvmjobd.socket)" enabled
expect 'and listens' equals "$(in_box systemctl is-active kvmjobd.socket)" active
expect 'the service waits for a client' property_is ActiveState inactive
expect 'systemd-analyze verify has nothing to say' equals \
    "$(in_box systemd-analyze verify kvmjobd.socket kvmjobd.service 2>&1)" ''
expect 'kvmjobd finds nothing wrong with the installed settings' \
    contains "$(in_box /usr/libexec/kvmjob/kvmjobd --check-config)" 'machines = "pooled"  # default'
[ -z "$deb" ] || expect 'no Swift library is loaded at run time' \
    equals "$(in_box ldd /usr/libexec/kvmjob/kvmjobd /usr/bin/kvmjob | grep -iE 'swift|foundation')" ''

printf -- '--- use\n'
in_box usermod -aG kvmjob alice
in_box sh -c "printf '\\260\\101\\346\\351\\364' >/tmp/a.bin; chmod 644 /tmp/a.bin"
expect 'alice, in the group kvmjob, submits an image' equals "$(as alice kvmjob submit /tmp/a.bin 2>/dev/null)" A
expect 'and runs a program' equals "$(as alice kvmjob run -- /bin/echo hi 2>&1)" hi
expect 'in the service' property_is ActiveState active
message=$(as bob kvmjob run -- /bin/echo hi 2>&1)
expect 'bob, who is not, gets status 125' equals "$(as bob kvmjob run -- /bin/echo hi >/dev/null 2>&1; echo $?)" 125
expect 'and is told what to do' contains "$message" 'usermod -aG kvmjob'
for name in 1/kvmjob 8/kvmjobd 7/kvmjob-protocol 5/kvmjobd.conf; do
    expect "man ${name%/*} ${name#*/} is found" contains "$(in_box man -w "${name%/*}" "${name#*/}")" /share/man/
done
expect 'man kvmjobd.conf shows the settings' contains "$(in_box man 5 kvmjobd.conf | cat)" tenant-running-jobs

printf -- '--- journal\n'
ready=25830d75ee35494bb548d67ca635468d
in_box journalctl --sync
expect 'journalctl -x explains a record' contains \
    "$(in_box journalctl --quiet --no-pager --catalog MESSAGE_ID=$ready)" 'Subject: kvmjobd takes jobs'
expect 'with what its fields say' contains "$(in_box journalctl --quiet --no-pager --catalog MESSAGE_ID=$ready)" \
    "made its $(record KVMJOB_SLOTS MESSAGE_ID=$ready) slots"
expect 'every kind of event has its text' equals \
    "$(in_box journalctl --dump-catalog $(sed -n 's/^-- //p' deploy/kvmjob.catalog) 2>/dev/null | grep -c '^Defined-By: kvmjob')" \
    "$(grep -c '^-- ' deploy/kvmjob.catalog)"

printf -- '--- upgrade\n'
before=$(property MainPID)
report=$(in_box "$repository/Tests/EndToEnd/batch.py" "$socket" --jobs 1 --image ebfe --wall-ms 3000 --when STARTED:1 --run "$upgrade >&2")
expect 'a job that runs while it is upgraded is answered' equals "$(field "$report" unanswered)" '[]'
expect 'at its own end' equals "$(field "$report" outcomes)" '{"wall-time-exhausted": 1}'
expect 'the socket listened all the time' equals "$(in_box systemctl is-active kvmjobd.socket)" active
expect 'the next client is served' equals "$(as alice kvmjob run -- /bin/echo again 2>&1)" again
expect 'by another process' test "$(property MainPID)" != "$before"
[ -z "$deb" ] || expect 'of the later version' \
    contains "$(in_box dpkg-query --show --showformat='${Version} ${Status}' kvmjob)" '+later install ok installed'

printf -- '--- settings\n'
settings=/etc/kvmjob/kvmjobd.conf
in_box sh -ec "cp $settings /tmp/kept; printf 'slots = 1\nlog-jobs = \"all\"\n' >>$settings; systemctl --quiet stop kvmjobd.service 2>/dev/null"
expect 'a setting of the file holds' as alice kvmjob submit /tmp/a.bin
expect 'as the status says' contains "$(property StatusText)" '1 slots'
expect 'and the log' equals "$(record KVMJOB_OUTCOME MESSAGE_ID=f5de9ba978ad48b082ca091f1a4aa676)" halted
line=$(($(in_box wc -l /tmp/kept | cut -d' ' -f1) + 2))
in_box sh -ec "sed -i 's/^log-jobs.*/tenant-memory = 12/' $settings; systemctl --quiet stop kvmjobd.service 2>/dev/null"
as alice kvmjob submit /tmp/a.bin >"$work/answer" &
client=$!
failed=59bef370b0754c7d939626abf6f0c5d1
told() { contains "$(record MESSAGE MESSAGE_ID=$failed)" "$settings:$line: tenant-memory takes a string in quotes: a size"; }
expect 'a wrong one is told in the journal with file, line and key' eventually 20 told
expect 'with what to do' contains "$(in_box journalctl --quiet --no-pager --catalog MESSAGE_ID=$failed)" 'correct that line'
expect 'the status is that of a wrong configuration' eventually 10 property_is ExecMainStatus 78
expect '--check-config says the same' contains "$(in_box /usr/libexec/kvmjob/kvmjobd --check-config)" "$settings:$line: tenant-memory"
in_box cp /tmp/kept $settings
wait "$client"
expect 'once it is right, the client that waited is served' equals "$(cat "$work/answer")" A
expect 'and so is the next' as alice kvmjob submit /tmp/a.bin

printf -- '--- remove\n'
expect 'it can be removed' remove_it
expect 'nobody listens any more' test ! -S "$(Tests/EndToEnd/systemd-box root "$box")$socket"
expect 'no process is left' equals "$(in_box pgrep -a kvmjobd)" ''
[ -z "$deb" ] || expect 'the settings stay until it is purged' in_box test -e $settings
expect 'and purged' purge_it
in_box systemctl daemon-reload
machine >"$work/after"
expect 'no file, user, group or unit is left' equals "$(diff "$work/before" "$work/after")" ''
finish
