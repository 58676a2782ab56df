#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# From a fresh clone to a guest's output: installs what the build needs, builds kvmjob, and submits two guest images, with no
# daemon installed.
#
#   deploy/try.sh
#
# Exit status: that of the last job; 125 when this machine cannot run guests, with the reason and what to do.
set -eu
cd "$(dirname "$0")/.."

deploy/setup.sh
printf 'try: building kvmjob (the first time takes some minutes)\n' >&2
swift build -c release --product kvmjob >&2
# The guest programs of the tests, assembled from source, as image files.
swift build -c release --product guest-images >&2
bin=$(swift build -c release --show-bin-path)
images=$(mktemp -d)
trap 'rm -rf -- "$images"' EXIT
"$bin/guest-images" "$images" >/dev/null

show() { printf '\n$ kvmjob %s\n' "$*" >&2; "$bin/kvmjob" "$@"; }

# Real mode: add al, bl; add al, '0'; out 0x3f8; out '\n'; hlt
show submit --set ax=2 --set bx=2 --steps 1000 --registers "$images/add.bin"
# Real mode: prints its input backwards.
# Standard input goes to the guest.
printf 'a guest in a machine of its own\n' | show submit --stdin - "$images/reverse-line.bin"
printf '\nThe command is %s/kvmjob; try: %s/kvmjob submit --help\n' "$bin" "$bin" >&2
