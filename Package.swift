// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import PackageDescription

/// Every Swift target is built with the same strictness. `strictMemorySafety` makes each unsafe use carry the word
/// `unsafe`; `Tests/check-fences.sh` then checks that the word stands only in the targets that may hold it.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
]

/// Tests read fixtures and C tables directly, so strict memory safety is not asked of them.
let strictTests: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .treatAllWarnings(as: .error),
]

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioLocks = Target.Dependency.product(name: "NIOConcurrencyHelpers", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let histogram = Target.Dependency.product(name: "Histogram", package: "hdrhistogram-swift")
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "kvmjob",
    products: [
        .executable(name: "kvmjob", targets: ["kvmjob"]),
        .executable(name: "kvmjobd", targets: ["kvmjobd"]),
        .library(name: "KVMJobClient", targets: ["KVMJobClient", "JobModel"]),
        .library(name: "VMRuntime", targets: ["VMRuntime", "GuestImage", "KVM", "JobModel"]),
        .library(name: "JobProtocol", targets: ["JobProtocol", "JobScheduling", "JobModel"]),
        .library(name: "BareLoop", targets: ["BareLoop"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    ],
    targets: [
        // The nouns.
        .target(name: "JobModel", swiftSettings: strict),

        // C fences: fixed arguments, -errno back, no policy.
        .target(name: "CKVM"),
        .target(name: "CLinux"),
        // toml++ behind functions of C. C++, and the only target that is.
        .target(name: "CTOML"),
        .systemLibrary(name: "CSystemd", pkgConfig: "libsystemd", providers: [.apt(["libsystemd-dev"])]),
        .systemLibrary(name: "CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
        .target(name: "CSandbox", dependencies: ["CSeccomp"]),
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(name: "CCapstone", pkgConfig: "capstone", providers: [.apt(["libcapstone-dev"])]),

        // One job in one VM.
        .target(name: "KVM", dependencies: ["CKVM", "JobModel", nioLocks], swiftSettings: strict),
        // Code that runs in the guest, beside a Linux program.
        .target(name: "CGuestCode"),
        .target(name: "GuestImage", dependencies: ["CGuestCode", "JobModel"], swiftSettings: strict),
        // What a kernel would be to a Linux program that runs as a guest.
        .target(
            name: "LinuxPersonality", dependencies: ["JobModel", "GuestImage", "KVM"], swiftSettings: strict),
        .target(
            name: "VMRuntime",
            dependencies: ["JobModel", "KVM", "GuestImage", "LinuxPersonality", crypto, deque, nioLocks],
            swiftSettings: strict),

        // The pure middle: who may run, and what the bytes mean.
        .target(name: "JobScheduling", dependencies: ["JobModel", deque], swiftSettings: strict),
        .target(name: "JobProtocol", dependencies: ["JobModel", crypto], swiftSettings: strict),

        // The jobs that outlive their clients and their worker.
        .target(name: "SQLite", dependencies: ["CSQLite"], swiftSettings: strict),
        .target(name: "JobStore", dependencies: ["SQLite", "JobModel"], swiftSettings: strict),

        // The edges.
        .target(
            name: "JobTransport", dependencies: ["JobProtocol", "CLinux", nioCore, nioPosix], swiftSettings: strict),
        .target(name: "Systemd", dependencies: ["CSystemd", logging, nioLocks], swiftSettings: strict),
        // What a worker gives up before it serves.
        .target(name: "ProcessSandbox", dependencies: ["CSandbox", "CKVM"], swiftSettings: strict),
        .target(
            name: "Worker",
            dependencies: [
                "JobModel", "VMRuntime", "LinuxPersonality", "KVM", "GuestImage", "JobScheduling", "JobProtocol",
                "JobStore", "JobTransport", deque, logging, nioCore, nioPosix, nioLocks,
            ], swiftSettings: strict),
        .target(
            name: "KVMJobClient",
            dependencies: ["JobModel", "JobProtocol", "JobTransport", nioCore, nioPosix, nioLocks],
            swiftSettings: strict),

        // What a client makes of machine code; no worker takes instructions apart.
        .target(name: "Disassembly", dependencies: ["CCapstone"], swiftSettings: strict),

        // What a worker is measured against: the same guest by bare system calls in C.
        .target(name: "CBareLoop"),
        .target(name: "BareLoop", dependencies: ["CBareLoop", "GuestImage", "JobModel"], swiftSettings: strict),

        // What the settings file says, and on which line.
        .target(name: "TOML", dependencies: ["CTOML", "CLinux"], swiftSettings: strict),

        // What people start.
        .executableTarget(
            name: "kvmjobd",
            dependencies: [
                "Worker", "JobStore", "Systemd", "ProcessSandbox", "TOML", "JobTransport", "JobProtocol", "JobModel",
                logging, nioCore, nioPosix, nioLocks,
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "kvmjob",
            dependencies: [
                "KVMJobClient", "Worker", "VMRuntime", "LinuxPersonality", "GuestImage", "KVM", "JobModel",
                "JobProtocol",
                "JobTransport", "CLinux", "Disassembly", "BareLoop", argumentParser, histogram, logging, nioCore,
                nioPosix,
                nioLocks,
            ], swiftSettings: strict),

        // Guest programs, assembled from source by the toolchain, and a tool that writes them out as image files.
        .target(name: "Guests", path: "Tests/Guests"),
        .executableTarget(
            name: "guest-images", dependencies: ["Guests"], path: "Tests/GuestImages", swiftSettings: strictTests),

        // A worker's process in the hands of an intruder.
        .target(name: "ForbiddenActs", path: "Tests/ForbiddenActs"),
        .executableTarget(
            name: "exploited-worker",
            dependencies: ["ProcessSandbox", "JobStore", "JobModel", "CKVM", "ForbiddenActs"],
            path: "Tests/ExploitedWorker", swiftSettings: strictTests),

        // A worker's store, alone in a process that is killed.
        .executableTarget(
            name: "store-writer", dependencies: ["JobStore", "JobModel", "SeededRandom"], path: "Tests/StoreWriter",
            swiftSettings: strictTests),

        .target(name: "SeededRandom", path: "Tests/SeededRandom", swiftSettings: strictTests),
        .target(
            name: "FrameStreams", dependencies: ["JobProtocol", nioCore], path: "Tests/FrameStreams",
            swiftSettings: strictTests),

        .testTarget(name: "JobModelTests", dependencies: ["JobModel"], swiftSettings: strictTests),
        .testTarget(name: "KVMTests", dependencies: ["KVM", "JobModel"], swiftSettings: strictTests),
        .testTarget(
            name: "GuestImageTests", dependencies: ["GuestImage", "JobModel", "SeededRandom"],
            swiftSettings: strictTests),
        .testTarget(
            name: "LinuxPersonalityTests",
            dependencies: ["LinuxPersonality", "GuestImage", "KVM", "JobModel", "SeededRandom"],
            swiftSettings: strictTests),
        .testTarget(
            name: "BareLoopTests", dependencies: ["BareLoop", "GuestImage", "JobModel"], swiftSettings: strictTests),
        .testTarget(
            name: "VMRuntimeTests",
            dependencies: [
                "VMRuntime", "GuestImage", "KVM", "CKVM", "JobModel", "JobProtocol", "Guests", "SeededRandom", crypto,
            ],
            swiftSettings: strictTests),
        .testTarget(
            name: "JobSchedulingTests", dependencies: ["JobScheduling", "JobModel", "SeededRandom"],
            swiftSettings: strictTests),
        .testTarget(
            name: "JobProtocolTests", dependencies: ["JobProtocol", "JobModel", "SeededRandom"],
            swiftSettings: strictTests),
        .testTarget(
            name: "JobStoreTests", dependencies: ["JobStore", "SQLite", "JobModel", "SeededRandom", "store-writer"],
            swiftSettings: strictTests),
        .testTarget(
            name: "JobTransportTests",
            dependencies: ["JobTransport", "JobProtocol", "FrameStreams", nioCore, nioPosix, nioEmbedded],
            swiftSettings: strictTests),
        .testTarget(
            name: "KVMJobClientTests",
            dependencies: [
                "KVMJobClient", "JobTransport", "JobProtocol", "JobModel", "FrameStreams", nioCore, nioPosix,
            ],
            swiftSettings: strictTests),
        .testTarget(
            name: "ProcessSandboxTests", dependencies: ["ProcessSandbox", "CKVM"], swiftSettings: strictTests),
        .testTarget(name: "SystemdTests", dependencies: ["Systemd", logging], swiftSettings: strictTests),
        .testTarget(
            name: "WorkerTests",
            dependencies: [
                "Worker", "VMRuntime", "LinuxPersonality", "KVMJobClient", "JobTransport", "JobProtocol",
                "JobScheduling", "JobModel", "Guests", "SeededRandom", "FrameStreams", logging, nioCore, nioPosix,
                nioLocks,
            ], swiftSettings: strictTests),
        .testTarget(
            name: "CommandLineTests",
            dependencies: [
                "kvmjob", "BareLoop", "Worker", "Disassembly", "GuestImage", "VMRuntime", "JobModel", "JobProtocol",
                "SeededRandom", logging, nioPosix,
            ],
            swiftSettings: strictTests),
        .testTarget(
            name: "DaemonTests", dependencies: ["kvmjobd", "JobStore", "Systemd", "Worker", "TOML"],
            swiftSettings: strictTests),
        .testTarget(name: "DisassemblyTests", dependencies: ["Disassembly"], swiftSettings: strictTests),
    ],
    cxxLanguageStandard: .cxx17
)
