#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Builds the Debian package of this tree: .build-deb/kvmjob_VERSION_ARCHITECTURE.deb, and has lintian look at it.
#
#   deploy/build-deb.sh
#
# Swift is no Debian package, so dpkg-buildpackage is told not to ask for what the build needs; setup.sh installs it. The first
# run compiles everything, which takes some ten minutes on two processors; the compiled files are kept in .build-deb/swift.
set -eu
cd "$(dirname "$0")/.."
deploy/setup.sh debhelper dpkg-dev fakeroot lintian lowdown python3

version=$(dpkg-parsechangelog --file deploy/debian/changelog --show-field Version)
grep -qF "\"$version\"" Sources/JobModel/Release.swift || {
    printf 'build-deb: deploy/debian/changelog has %s, and Sources/JobModel/Release.swift has another version\n' "$version" >&2
    exit 1
}

# The copy always stands in the same place, so that Swift knows its files again.
stage=$PWD/.build-deb/kvmjob-$version
rm -rf -- "$stage"
mkdir -p "$stage"
tar --create --exclude='./.*' --exclude='.build*' . | tar --extract --directory="$stage"
mv "$stage/deploy/debian" "$stage/debian"
[ ! -e Package.resolved ] || cp -p Package.resolved "$stage/"

export SCRATCH=$PWD/.build-deb/swift
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog --file deploy/debian/changelog --show-field Timestamp)
export SOURCE_DATE_EPOCH
(cd "$stage" && dpkg-buildpackage --build=binary --no-sign --no-check-builddeps)

package=.build-deb/kvmjob_${version}_$(dpkg --print-architecture).deb
lintian --fail-on error,warning --tag-display-limit 0 "$package"
Tests/check-release.sh "$SCRATCH/release/kvmjobd" "$SCRATCH/release/kvmjob"
printf '%s\n' "$package"
