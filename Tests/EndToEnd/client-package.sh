#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# A package of somebody else's that depends on the product KVMJobClient by path: it builds, and runs a job on a worker.
#
#   client-package.sh [KVMJOBD]      default .build/debug/kvmjobd
#
# The first run builds the client and what it needs again, which takes some minutes; later ones find that in .build/client-package.
# Not among the parts of Tests/run.sh.
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
kvmjobd=$(readlink -f -- "${1:-.build/debug/kvmjobd}")
root=$PWD
[ -x "$kvmjobd" ] || did_not_run "there is no $kvmjobd (swift build)"
[ -r /dev/kvm ] && [ -w /dev/kvm ] || did_not_run '/dev/kvm is not usable'

place=$(mktemp -d)
worker=
trap 'kill $worker 2>/dev/null; wait; rm -rf -- "$place"' EXIT
mkdir -p "$place/Sources/hello"
cat >"$place/Package.swift" <<END
// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "hello",
    dependencies: [.package(name: "kvmjob", path: "$root")],
    targets: [
        .executableTarget(name: "hello", dependencies: [.product(name: "KVMJobClient", package: "kvmjob")])
    ])
END
cat >"$place/Sources/hello/main.swift" <<'END'
import JobModel
import KVMJobClient

let client = try await JobClient.connect(path: CommandLine.arguments[1])
let job = try await client.submit(JobSpec(mode: .real16), image: [0xB0, 0x21, 0xE6, 0xE9, 0xF4])
for try await chunk in job.output { print(String(decoding: chunk.bytes, as: UTF8.self)) }
print(try await job.result().outcome)
await client.shutdown()
END
# The versions that the tree was tested with.
cp Package.resolved "$place/"
expect 'a package that depends on the product builds' \
    swift build --package-path "$place" --scratch-path "$root/.build/client-package" --product hello
"$kvmjobd" --socket "$place/socket" --log-target stderr 2>"$place/log" &
worker=$!
eventually 10 test -S "$place/socket" || did_not_run "kvmjobd did not start: $(cat "$place/log")"
expect 'and runs a job' equals "$(timeout 30 "$root/.build/client-package/debug/hello" "$place/socket" 2>&1)" '!
halted'
finish
