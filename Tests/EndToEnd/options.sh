#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# The command line of kvmjobd: what it takes, what it refuses, and its exit statuses.
#
#   options.sh [KVMJOBD]      default .build/debug/kvmjobd
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
kvmjobd=${1:-.build/debug/kvmjobd}
[ -x "$kvmjobd" ] || did_not_run "there is no $kvmjobd (swift build --product kvmjobd)"

# refuses STATUS PART ARGUMENT...: kvmjobd leaves with STATUS and says PART.
refuses() {
    local status=$1 part=$2 output actual
    shift 2
    output=$(env -u LISTEN_FDS timeout 10 "$kvmjobd" "$@" 2>&1 >/dev/null)
    actual=$?
    equals "$actual" "$status" && contains "$output" "$part"
}

help=$("$kvmjobd" --help)
expect '--help succeeds' equals $? 0
mapfile -t keys < <(sed -n 's/^#\([a-z-]*\) = .*/\1/p' deploy/kvmjobd.conf)
expect 'the installed settings file has more than twenty keys' test ${#keys[@]} -gt 20
for option in "${keys[@]/#/--}" --config --check-config --print-default-config --version; do
    expect "--help describes $option" contains "$help" "  $option"
done
expect '--version names the program' contains "$("$kvmjobd" --version)" 'kvmjobd '

expect 'an unknown option is named' refuses 64 'there is no option --bogus' --bogus
expect 'an argument that is no option is named' refuses 64 '"x": kvmjobd takes options only' x
expect 'an option without its value says what is wanted' refuses 64 '--socket needs a value: a path' --socket
expect 'an empty path is refused' refuses 64 '--socket takes a path' --socket=
expect 'an option given twice is refused' refuses 64 '--slots is given twice' --slots 1 --slots=1
for slots in 0 129 -1 x 99999999999999999999; do
    expect "--slots $slots is refused" refuses 64 "a number from 1 to 128, not \"$slots\"" --slots "$slots"
done
for count in 0 16385; do
    expect "--connections $count is refused" refuses 64 'a number from 1 to 16384' --connections "$count"
done
for count in 0 1025; do
    expect "--max-paused $count is refused" refuses 64 'a number from 1 to 1024' --max-paused "$count"
done
for size in -1 64 1G 65GiB 64mib 1.5GiB 17179869184GiB; do
    expect "--image-cache $size is refused" refuses 64 "a size such as 64MiB or 2GiB, from 0 to 64GiB, not \"$size\"" --image-cache "$size"
done
expect '--operators names who there is not' refuses 64 'not "no-such-user"' --operators root,no-such-user,1
expect '--pause-time wants a time' refuses 64 'a time such as' --pause-time 30
for time in 5 s 1d -1s 1.5s 9223372036854775807h 8761h; do
    expect "--idle-exit $time is refused" refuses 64 "not \"$time\"" --idle-exit "$time"
done
for time in 200 11ms 0.2ms; do
    expect "--spin $time is refused" refuses 64 'at most 10ms' --spin "$time"
done
expect '--drain-timeout wants a time' refuses 64 'a time such as' --drain-timeout soon
expect '--machines names its values' refuses 64 'pooled, tenant or fresh, not "shared"' --machines shared
expect '--log-jobs names its values' refuses 64 'none, failures or all, not "some"' --log-jobs some
expect '--log-target names its values' refuses 64 'auto, journal or stderr, not "file"' --log-target file
expect 'without a socket it says how to get one' refuses 78 'start kvmjobd.socket' --drain-timeout 0s --idle-exit 8760h

printf -- '--- settings file\n'
settings=$(mktemp)
trap 'rm -f -- "$settings"' EXIT
printf 'slots = 2\n# no comment\nimage-cache = "64MiB"\noperators = ["root", 1]\n' >"$settings"
in_force=$("$kvmjobd" --config "$settings" --check-config --slots 3)
for line in 'slots = 3  # command line' "image-cache = \"64MiB\"  # $settings:3" "operators = [0, 1]  # $settings:4" \
    'queued-jobs = 16384  # default' '# idle-exit is not set: stay'; do
    expect "--check-config tells: $line" contains "$in_force" "$line"
done
expect 'a start goes by the same file' refuses 78 'start kvmjobd.socket' --config "$settings"
printf 'slots = 2\nslots = 3\n' >"$settings"
expect 'what is no TOML is told with its line' refuses 78 "$settings:2: this is no TOML" --config "$settings"
printf 'machine = "fresh"\nslots = "2"\n' >"$settings"
expect 'a wrong key is told with file and line' \
    refuses 78 "$settings:1: machine is no setting of kvmjobd: did you mean machines? (and 1 more" --config "$settings"
expect '--check-config tells all that is wrong' equals "$("$kvmjobd" --config "$settings" --check-config | wc -l)" 2
expect 'and ends with status 78' equals "$("$kvmjobd" --config "$settings" --check-config >/dev/null; echo $?)" 78
expect 'a file that was named must be there' refuses 78 '/no/such: there is no such file' --config /no/such
expect '--config wants a path' refuses 64 '--config needs a value: a path' --config
expect '--print-default-config is the file that is installed' \
    equals "$("$kvmjobd" --print-default-config)" "$(cat deploy/kvmjobd.conf)"
finish
