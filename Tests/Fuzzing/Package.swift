// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import PackageDescription

/// A package of its own, since all that is fuzzed has to be built for it: with the fuzzer's coverage and with AddressSanitizer. The
/// folders of what is fuzzed are links to the project's.
let instrumented: [SwiftSetting] = [.swiftLanguageMode(.v6), .unsafeFlags(["-sanitize=fuzzer,address"])]
let strict: [SwiftSetting] =
    instrumented + [
        .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ]

let package = Package(
    name: "kvmjob-fuzzing",
    targets: [
        .target(name: "JobModel", swiftSettings: strict),
        .target(name: "CGuestCode"),
        .target(name: "GuestImage", dependencies: ["CGuestCode", "JobModel"], swiftSettings: strict),
        // The fuzzer's own loop, which brings no main: a Swift program has one already.
        .target(name: "CFuzzer"),
        .executableTarget(
            name: "fuzz-launch", dependencies: ["GuestImage", "JobModel", "CFuzzer"], path: "Sources/FuzzLaunch",
            swiftSettings: instrumented + [.unsafeFlags(["-parse-as-library"])],
            // The default linker does not take these objects.
            linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]),
    ]
)
