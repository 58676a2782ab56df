#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Installs what a build of kvmjob needs and this machine lacks: Debian packages by apt-get. Swift itself must be there.
#
#   deploy/setup.sh [PACKAGE...]      further packages, for tests
#
# Quiet when there is nothing to do. Exit status 1 when something is missing that it cannot install.
set -eu

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

command -v swift >/dev/null || fail 'Swift is missing: install 6.2 or later, see https://www.swift.org/install/linux/'

missing=()
for package in libsystemd-dev libseccomp-dev libcapstone-dev libsqlite3-dev libtomlplusplus-dev pkg-config "$@"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || fail "install by hand what your system calls: ${missing[*]}"
run=()
[ "$(id -u)" = 0 ] || { command -v sudo >/dev/null || fail "install as root: apt-get install ${missing[*]}"; run=(sudo); }
printf 'setup: installing %s\n' "${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${run[@]}" apt-get update -qq
"${run[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
