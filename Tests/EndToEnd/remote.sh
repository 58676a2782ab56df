#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# kvmjob --host: jobs on "another machine", by a real sshd on loopback with keys and configuration of its own on a free port.
# Nothing of the system's or this user's ssh is read or changed.
#
#   remote.sh [KVMJOBD [KVMJOB]]      default .build/debug/kvmjobd .build/debug/kvmjob
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
kvmjobd=${1:-.build/debug/kvmjobd}
kvmjob=$(realpath "${2:-.build/debug/kvmjob}")
PATH=$PATH:/usr/sbin:/sbin
[ -x "$kvmjobd" ] && [ -x "$kvmjob" ] || did_not_run "there is no $kvmjobd or no $kvmjob (swift build)"
[ -r /dev/kvm ] && [ -w /dev/kvm ] || did_not_run '/dev/kvm is not usable'
command -v ssh >/dev/null && command -v sshd >/dev/null && command -v ssh-keygen >/dev/null ||
    did_not_run 'there is no OpenSSH: apt-get install openssh-server openssh-client'
unset KVMJOB_HOST KVMJOB_SOCKET SSH_AUTH_SOCK

place=$(mktemp -d)
chmod 700 "$place"
server= worker= made_run_sshd=
finish_up() {
    [ -n "$server" ] && kill "$server" 2>/dev/null
    [ -n "$worker" ] && kill "$worker" 2>/dev/null
    wait
    [ -n "$made_run_sshd" ] && rmdir /run/sshd 2>/dev/null
    rm -rf "$place"
}
trap finish_up EXIT

# A worker, where the far kvmjob looks for it.
socket=$place/socket
"$kvmjobd" --socket "$socket" --slots 2 --log-target stderr 2>"$place/log" &
worker=$!
eventually 10 test -S "$socket" || did_not_run "kvmjobd did not start: $(cat "$place/log")"

# What the far shell finds in PATH: kvmjob, or none, or one that is too old to know dial-stdio.
mkdir "$place/bin" "$place/empty" "$place/old" "$place/near"
ln -s "$kvmjob" "$place/bin/kvmjob"
printf '#!/bin/sh\necho "Error: Unexpected argument '\''$1'\''" >&2; exit 64\n' >"$place/old/kvmjob"
chmod 755 "$place/old/kvmjob"

# An sshd of its own. As root it wants a directory that the system's makes when it starts.
if [ "$(id -u)" = 0 ] && [ ! -d /run/sshd ]; then mkdir -m 755 /run/sshd && made_run_sshd=1; fi
ssh-keygen -q -t ed25519 -N '' -f "$place/host" && ssh-keygen -q -t ed25519 -N '' -f "$place/key" ||
    did_not_run 'ssh-keygen makes no keys'
cp "$place/key.pub" "$place/authorized"
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port)

# serve FOLDER [SOCKET]: an sshd whose shells find kvmjob in FOLDER, and the worker at SOCKET.
serve() {
    [ -z "$server" ] || { kill "$server"; wait "$server" 2>/dev/null; }
    cat >"$place/sshd_config" <<END
ListenAddress 127.0.0.1
Port $port
HostKey $place/host
AuthorizedKeysFile $place/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv PATH=$1:/usr/bin:/bin KVMJOB_SOCKET=${2:-$socket}
END
    "$(command -v sshd)" -D -e -f "$place/sshd_config" 2>>"$place/sshd.log" &
    server=$!
    eventually 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" || did_not_run "sshd did not start: $(cat "$place/sshd.log")"
}

# The ssh that kvmjob finds first in PATH: the real one, with this test's configuration and nothing of the user's.
real_ssh=$(command -v ssh)
printf '127.0.0.1 %s\n[127.0.0.1]:%s %s\n' "$(cut -d' ' -f1,2 "$place/host.pub")" "$port" "$(cut -d' ' -f1,2 "$place/host.pub")" >"$place/known"
cat >"$place/ssh_config" <<END
IdentityFile $place/key
IdentitiesOnly yes
UserKnownHostsFile $place/known
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
BatchMode yes
END
printf '#!/bin/sh\nexec %s -F %s "$@"\n' "$real_ssh" "$place/ssh_config" >"$place/near/ssh"
chmod 755 "$place/near/ssh"
PATH=$place/near:$PATH
host=ssh://$(id -un)@127.0.0.1:$port

# No ssh with this test's configuration is left, however soon somebody looks.
no_ssh_left() { ! pgrep -f -- "-F $place/ssh_config"; }

# says STATUS PART COMMAND...: COMMAND ends with STATUS and says PART, and no ssh is left behind.
says() {
    local status=$1 part=$2 output actual
    shift 2
    output=$(timeout 60 "$@" 2>&1 </dev/null)
    actual=$?
    equals "$actual" "$status" && contains "$output" "$part" && no_ssh_left
}

serve "$place/bin"
add='00 d8 04 30 ba f8 03 ee b0 0a ee f4'
expect 'a job runs there' says 0 4 "$kvmjob" --host "$host" submit --hex "$add" --set ax=2 --set bx=2
expect 'the option may stand behind the subcommand' says 0 4 "$kvmjob" submit --host "$host" --hex "$add" --set ax=2 --set bx=2
expect 'the variable names the machine too' says 0 4 env KVMJOB_HOST="$host" "$kvmjob" submit --hex "$add" --set ax=2 --set bx=2
expect "a socket's path may follow the machine" says 0 4 "$kvmjob" --host "$host$socket" submit --hex "$add" --set ax=2 --set bx=2
expect 'its exit code is the status' says 7 'exited with code 7' "$kvmjob" --host "$host" submit --hex 'b0 07 e6 f4'
expect 'doctor finds the worker there' says 0 "Worker at $host" "$kvmjob" --host "$host" doctor
expect 'bench has a connection through ssh for each of its own' says 0 'jobs/s' \
    "$kvmjob" --host "$host" bench --duration 300ms --warmup 100ms --connections 2

many=$(timeout 60 "$kvmjob" --host "$host" submit --json --repeat 200 --hex "$add" 2>&1 | grep -c '"outcome":"halted"')
expect 'many jobs go through one connection' equals "$many" 200

output=$(printf 'one\ntwo\n' | timeout 60 "$kvmjob" --host "$host" run -- cat 2>&1)
expect "a program's input goes there, and its output comes back" equals "$?$output" $'0one\ntwo'
timeout 60 "$kvmjob" --host "$host" run -- sh -c 'echo out; echo err >&2; exit 5' >"$place/out" 2>"$place/err" </dev/null
expect 'its streams and status are its own' equals "$? $(cat "$place/out") $(cat "$place/err")" '5 out err'

# 24 MiB each way, random so that no compression hides anything.
head -c 25165824 /dev/urandom >"$place/much"
timeout 200 "$kvmjob" --host "$host" run --wall-time 3m -- cat <"$place/much" >"$place/back" 2>"$place/err"
expect 'much goes both ways unchanged' equals "$? $(cat "$place/err") $(cmp "$place/much" "$place/back" && echo same)" '0  same'
expect 'and no ssh is left' eventually 5 no_ssh_left

# Ctrl-C, which a terminal gives to all: ssh has to stay until the results have come.
# A shell without job control lets what it starts in the background ignore it. The guest prints a point when it runs, and then runs on.
env --default-signal=INT "$kvmjob" --host "$host" submit --wall-time 50s --hex 'b0 2e e6 e9 eb fe' >"$place/stopped" 2>"$place/err" </dev/null &
runner=$!
expect 'the job runs' eventually 20 test -s "$place/stopped"
ssh_pid=$(pgrep -f -- "-F $place/ssh_config")
expect 'with an ssh of its own' equals "$(ps -o ppid= -p "$ssh_pid" | tr -d ' ')" "$runner"
kill -INT "$ssh_pid" "$runner"
wait "$runner"
expect 'Ctrl-C stops the job, and its result still comes' contains "$(cat "$place/err")" 'cancelled by request'
expect 'and leaves no ssh behind' eventually 5 no_ssh_left

# Killed, kvmjob takes its ssh along.
env --default-signal=INT "$kvmjob" --host "$host" submit --wall-time 50s --hex 'b0 2e e6 e9 eb fe' >"$place/killed" 2>&1 </dev/null &
runner=$!
expect 'a second job runs' eventually 20 test -s "$place/killed"
kill -KILL "$runner"
{ wait "$runner"; } 2>/dev/null
expect 'a kvmjob that is killed leaves no ssh behind' eventually 5 no_ssh_left

# On a terminal ssh asks for what it needs: here the passphrase of a key. What is typed does not show.
ssh-keygen -q -t ed25519 -N 'open sesame' -f "$place/locked" && cat "$place/locked.pub" >>"$place/authorized"
mkdir "$place/asking"
sed "s|^IdentityFile .*|IdentityFile $place/locked|; s/^BatchMode yes/BatchMode no/" "$place/ssh_config" >"$place/ssh_config.asking"
printf '#!/bin/sh\nexec %s -F %s "$@"\n' "$real_ssh" "$place/ssh_config.asking" >"$place/asking/ssh"
chmod 755 "$place/asking/ssh"
# typing KEYS: a job on a terminal of its own, at which KEYS are typed when ssh asks; prints the status and what was seen.
typing() {
    PATH=$place/asking:$PATH timeout 60 python3 - "$kvmjob" "$host" "$1" <<'END'
import os, pty, sys
program, host, keys = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(program, [program, "--host", host, "submit", "--hex", "b0 34 e6 e9 f4"])
seen, typed = b"", False
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    seen += part
    if b"passphrase" in seen and not typed:
        typed = True
        os.write(terminal, keys.encode().decode("unicode_escape").encode())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode(errors="replace"))
END
}
seen=$(typing 'open sesame\n')
expect 'ssh asks on the terminal, and the job then runs' contains "$seen" 'halted'
expect 'the passphrase is not shown' equals "${seen#*sesame}" "$seen"
expect 'Ctrl-C there ends it' equals "$(typing '\x03' | head -n 1 | cut -d' ' -f1)" 1
expect 'and leaves no ssh behind that still asks' eventually 5 no_ssh_left

expect 'a socket on which nobody is, is told with what to do' says 125 'no worker answers there' \
    "$kvmjob" --host "$host$place/nobody" submit --hex f4
expect "the far kvmjob's reason comes too" says 125 "there is no socket at $place/nobody" \
    "$kvmjob" --host "$host$place/nobody" submit --hex f4
expect 'dial-stdio by itself says it with its status' says 125 'there is no socket' "$kvmjob" dial-stdio --socket "$place/nobody"
expect 'a port on which nobody listens is told' says 125 'ssh made no connection' \
    "$kvmjob" --host "ssh://127.0.0.1:$(free_port)" submit --hex f4
expect 'a name that is no machine is wrong usage' says 64 'begins with no hyphen' \
    "$kvmjob" --host ssh://-oProxyCommand=id submit --hex f4
expect 'without ssh it is told what to install' says 125 "install OpenSSH's client" \
    env PATH="$place/empty" "$kvmjob" --host "$host" submit --hex f4

ssh-keygen -q -t ed25519 -N '' -f "$place/other"
cp "$place/known" "$place/known.right"
printf '[127.0.0.1]:%s %s\n' "$port" "$(cut -d' ' -f1,2 "$place/other.pub")" >"$place/known"
expect 'another host key is refused, and ssh says so' says 125 'Host key verification failed' "$kvmjob" --host "$host" submit --hex f4
mv "$place/known.right" "$place/known"

serve "$place/empty"
expect 'a machine without kvmjob is told to install it' says 125 'install it there' "$kvmjob" --host "$host" submit --hex f4
serve "$place/old"
expect 'one whose kvmjob is too old, too' says 125 'is too old for this' "$kvmjob" --host "$host" submit --hex f4

serve "$place/bin"
kill -KILL "$worker"
wait "$worker" 2>/dev/null
expect 'a worker that was killed is none' says 125 'nobody listens' "$kvmjob" --host "$host" submit --hex f4
worker=
expect 'no ssh process is left' eventually 5 no_ssh_left
finish
