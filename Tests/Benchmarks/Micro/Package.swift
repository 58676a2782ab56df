// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"), .treatAllWarnings(as: .error),
]

/// A package of its own again: ordo-one/benchmark, its plugins and what they need take a minute to build, and the other benchmarks
/// do without.
let package = Package(
    name: "kvmjob-micro-benchmarks",
    dependencies: [
        .package(name: "kvmjob", path: "../../.."),
        // Without its malloc interposer, which it fetches otherwise.
        .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
    ],
    targets: [
        .target(
            name: "Subjects",
            dependencies: [
                .product(name: "JobProtocol", package: "kvmjob"), .product(name: "VMRuntime", package: "kvmjob"),
            ], swiftSettings: strict),
        // For times and their spread.
        .executableTarget(
            name: "Micro", dependencies: ["Subjects", .product(name: "Benchmark", package: "benchmark")],
            path: "Benchmarks/Micro", swiftSettings: strict,
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]),
        // For instructions, under callgrind: one subject, and nothing else.
        .executableTarget(name: "subject", dependencies: ["Subjects"], swiftSettings: strict),
    ]
)
