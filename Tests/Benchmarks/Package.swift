// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import PackageDescription

/// A package of its own, so that the project's never holds what only its benchmarks need.
let package = Package(
    name: "kvmjob-benchmarks",
    dependencies: [.package(name: "kvmjob", path: "../..")],
    targets: [
        // What is measured against: the same work by bare system calls.
        .target(name: "CFloor", cSettings: [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])]),
        // The worker that kvmjobd is held against, and a count of allocations.
        .executableTarget(
            name: "floor-worker", dependencies: ["CFloor"], path: "Sources/FloorWorker",
            cSettings: [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])]),
        .target(name: "CAllocations", cSettings: [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])]),
        .executableTarget(
            name: "benchmarks",
            dependencies: [
                "CFloor", "CAllocations",
                // Not linked: built beside the benchmarks, which start it.
                "floor-worker",
                .product(name: "VMRuntime", package: "kvmjob"),
                .product(name: "KVMJobClient", package: "kvmjob"),
                .product(name: "BareLoop", package: "kvmjob"),
                // Not linked: built beside the benchmarks, which start them.
                .product(name: "kvmjobd", package: "kvmjob"),
                .product(name: "kvmjob", package: "kvmjob"),
            ],
            swiftSettings: [
                .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"), .treatAllWarnings(as: .error),
            ]),
    ]
)
