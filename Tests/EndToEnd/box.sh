# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# What the tests under a real systemd share; sourced behind expect.sh, from the repository's folder, with the arguments of the
# script: [KVMJOBD [KVMJOB]], default .build/debug/kvmjobd .build/debug/kvmjob. Needs root, systemd and /dev/kvm.
#
# A box (systemd-box) is a throw-away machine with a systemd of its own; the functions speak to the one that $box names.

kvmjobd=$(readlink -f -- "${1:-.build/debug/kvmjobd}")
kvmjob=$(readlink -f -- "${2:-.build/debug/kvmjob}")
for program in "$kvmjobd" "$kvmjob"; do [ -x "$program" ] || did_not_run "there is no $program (swift build)"; done
reason=$(Tests/EndToEnd/systemd-box check 2>&1) || did_not_run "$reason"
[ -c /dev/kvm ] || did_not_run 'there is no /dev/kvm'

box=
booted=()
repository=$PWD
socket=/run/kvmjob/kvmjobd.sock
units=/etc/systemd/system
# Kinds of records in the journal: MESSAGE_ID of deploy/README.md.
ready=25830d75ee35494bb548d67ca635468d
accepted=2ec62bfadcc54d4194d7de6e52b0bc24
finished=f5de9ba978ad48b082ca091f1a4aa676
summary=8552603f126348f9bd0e7cbd605c1460
dropped=5b9a142b3f1f493e83538049e5094be7
trap '[ ${#booted[@]} = 0 ] || Tests/EndToEnd/systemd-box stop "${booted[@]}"' EXIT

# boot NAME BOX_OPTIONS...: a box with the units installed as deploy/README.md says and the socket started; $box from here on.
boot() {
    box=kvmjob-$$-$1
    shift
    local root
    booted+=("$box")
    Tests/EndToEnd/systemd-box start "$box" --bind "$repository:$repository:ro" "$@" || exit 1
    root=$(Tests/EndToEnd/systemd-box root "$box")
    install -D -m755 "$kvmjobd" "$root/usr/libexec/kvmjob/kvmjobd"
    install -D -m755 "$kvmjob" "$root/usr/local/bin/kvmjob"
    install -m644 deploy/kvmjobd.socket deploy/kvmjobd.service deploy/kvmjobd-each.socket deploy/kvmjobd-each@.service "$root$units/"
    install -D -m644 deploy/kvmjob.sysusers "$root/etc/sysusers.d/kvmjob.conf"
    in_box sh -ec 'systemd-sysusers; systemctl daemon-reload; systemctl enable --quiet --now kvmjobd.socket'
}

in_box() { Tests/EndToEnd/systemd-box exec "$box" -- "$@"; }
# as USER COMMAND...
as() {
    local user=$1
    shift
    Tests/EndToEnd/systemd-box exec "$box" -u "$user" -- "$@"
}
# Members of the group kvmjob with these numbers; and one who is none.
add_users() {
    in_box sh -ec 'useradd --no-create-home --uid 2001 --groups kvmjob ann
                   useradd --no-create-home --uid 2002 --groups kvmjob bob
                   useradd --no-create-home --uid 2003 stranger'
}

property() { in_box systemctl show --value --property="$1" kvmjobd.service; }
property_is() { equals "$(property "$1")" "$2"; }
socket_listens() { equals "$(in_box systemctl is-active kvmjobd.socket)" active; }

# options TEXT [SETTING...]: a drop-in with these daemon options and further settings; the service starts anew.
options() {
    local text=$1
    shift
    # A stop says that the socket may start it again, which is what is wanted.
    in_box sh -ec "mkdir -p $units/kvmjobd.service.d; cat >$units/kvmjobd.service.d/test.conf; systemctl daemon-reload
                   systemctl --quiet stop kvmjobd.service 2>/dev/null" < <(
        printf '%s\n' '[Service]' 'ExecStart=' "ExecStart=/usr/libexec/kvmjob/kvmjobd $text" "$@"
    )
}

batch() { in_box "$repository/Tests/EndToEnd/batch.py" "$socket" "$@"; }
# report_of COMMAND...: runs a command that prints a line of JSON, which is then in $report.
report_of() {
    report=$("$@")
    local status=$?
    [ -n "$report" ] || { printf '%s said nothing and ended with status %s\n' "$1" $status >&2; report='{}'; }
    return $status
}
# says NAME JSON: whether the report has this value.
says() { equals "$(field "$report" "$1")" "$2"; }

# Records of the daemon with these fields, oldest first, as JSON.
records() { in_box journalctl --sync && in_box journalctl --quiet --no-pager --output=json "$@"; }
# last FIELD MATCH...: the field of the newest such record.
last() {
    local name=$1
    shift
    records "$@" | tail -n1 | python3 -c 'import json, sys; print(json.loads(sys.stdin.readline() or "{}").get(sys.argv[1]))' "$name"
}
has_record() { [ -n "$(records "$@")" ]; }
# count MATCH...: how many records there are.
count() { records --output-fields=MESSAGE_ID "$@" | wc -l; }
# total FIELD MATCH...: the sum of a field over the records.
total() {
    local name=$1
    shift
    records "$@" | python3 -c 'import json, sys; print(sum(int(json.loads(line)[sys.argv[1]]) for line in sys.stdin))' "$name"
}
