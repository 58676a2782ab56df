#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Fuzzes the readers of images for so many seconds, on one core, from the seeds and from what earlier runs have found.
#
#   Tests/Fuzzing/run.sh [SECONDS [LIBFUZZER-OPTION...]]      60 by default
#
# An input that breaks a rule is left in this folder as crash-*; `run.sh 0 FILE` does it again. Exit status: 0 if there was none.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
shift || true
nice -n 15 swift build -c release --product fuzz-launch
program=.build/release/fuzz-launch
[ "$seconds" -gt 0 ] || exec "$program" "$@"
./seeds.py .build/seeds
mkdir -p .build/corpus
SWIFT_BACKTRACE=enable=no exec nice -n 15 "$program" -max_len=4096 -max_total_time="$seconds" -print_final_stats=1 \
    -timeout=10 -rss_limit_mb=4096 "$@" .build/corpus .build/seeds
