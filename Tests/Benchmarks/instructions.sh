#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Instructions per operation, counted by callgrind: repeatable to a few in ten thousand, whatever else the machine does, so
# that two commits can be compared where times are too noisy.
#
#   Tests/Benchmarks/instructions.sh [SUBJECT...] > before.txt     (all subjects without arguments; --list lists them)
#   diff before.txt after.txt
#
# Each subject runs twice, with few and with many repetitions; what the second takes more, shared among the repetitions that it
# has more, is what is printed. Instructions of the kernel and of guests are not in it.
set -eu
cd "$(dirname "$0")"
few=${FEW:-200}
many=${MANY:-1200}

if ! command -v valgrind >/dev/null; then
    printf 'instructions: installing valgrind\n' >&2
    ${SUDO-$([ "$(id -u)" = 0 ] || printf sudo)} apt-get install -y -qq valgrind >&2
fi
swift build -c release --package-path Micro --product subject >&2
subject=$(swift build -c release --package-path Micro --show-bin-path)/subject
if [ "${1-}" = --list ]; then exec "$subject"; fi
profile=$(mktemp)
trap 'rm -f -- "$profile"' EXIT

# count NAME TIMES: instructions of the whole process.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$profile" --error-exitcode=1 -q "$subject" "$1" "$2" >&2 || return 1
    awk '/^(summary|totals):/ { total = $2 } END { print total }' "$profile"
}

if [ $# -gt 0 ]; then names=("$@"); else mapfile -t names < <("$subject"); fi
for name in "${names[@]}"; do
    if low=$(count "$name" "$few") && high=$(count "$name" "$many"); then
        printf '%-36s %9d\n' "$name" $(((high - low) / (many - few)))
    else
        printf '%-36s NOT MEASURED\n' "$name"
        failed=1
    fi
done
exit "${failed:-0}"
