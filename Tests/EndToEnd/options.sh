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
for option in --socket --slots --machines --idle-exit --log-jobs --log-target --drain-timeout --max-connections --pause-time --max-paused --version; do
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
    expect "--max-connections $count is refused" refuses 64 'a number from 1 to 16384' --max-connections "$count"
done
for count in 0 1025; do
    expect "--max-paused $count is refused" refuses 64 'a number from 1 to 1024' --max-paused "$count"
done
expect '--pause-time wants a time' refuses 64 'a time such as' --pause-time 30
for time in 5 s 1d -1s 1.5s 9223372036854775807h 8761h; do
    expect "--idle-exit $time is refused" refuses 64 "not \"$time\"" --idle-exit "$time"
done
expect '--drain-timeout wants a time' refuses 64 'a time such as' --drain-timeout soon
expect '--machines names its values' refuses 64 'pooled, tenant or fresh, not "shared"' --machines shared
expect '--log-jobs names its values' refuses 64 'none, failures or all, not "some"' --log-jobs some
expect '--log-target names its values' refuses 64 'auto, journal or stderr, not "file"' --log-target file
expect 'without a socket it says how to get one' refuses 78 'start kvmjobd.socket' --drain-timeout 0s --idle-exit 8760h
finish
