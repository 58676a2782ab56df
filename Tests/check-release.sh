#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Whether programs are fit to be given away: nothing of what only debug builds have for tests is in them.
#
#   check-release.sh PROGRAM...      such as .build-release/release/kvmjobd
#
# Looks for WatchdogDrill's names, as text of the program and as symbols; a stripped program is judged by its text. The path of its
# file may be there: the file has no code in a release. If there is a debug build of kvmjobd, it has to be found out first, so that a
# search for what is called otherwise by now is noticed. Exit status 1 if there is something.
set -u
cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || { sed -n '5,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

# drills PROGRAM: how often the names are in it.
drills() { grep --count --text --extended-regexp 'KVMJOBD_WATCHDOG_DRILL|WatchdogDrill([^.]|$)' "$1"; }

debug=.build/debug/kvmjobd
if [ -x "$debug" ] && [ "$(drills "$debug")" = 0 ]; then
    printf 'check-release: %s has no drill either: this check looks for the wrong names\n' "$debug" >&2
    exit 1
fi
status=0
for program in "$@"; do
    found=$(drills "$program") || [ "$found" = 0 ] || { printf 'check-release: cannot read %s\n' "$program" >&2; exit 1; }
    [ "$found" = 0 ] && continue
    printf 'check-release: %s has a drill for tests in it: build it with -c release\n' "$program" >&2
    status=1
done
exit "$status"
