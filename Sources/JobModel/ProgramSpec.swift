// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A Linux program as a job: its files, and how it is started. Values only; nothing here has been checked yet.
public struct ProgramSpec: Sendable, Hashable {
    /// The most archives that a job's files can be made of: 16.
    public static let layerLimit = 16
    /// The most bytes of a path: 4095, as on Linux.
    public static let pathLimit = 4095
    /// The most bytes of path, arguments and environment together, each with a zero behind it: 120 KiB.
    public static let stringBytesLimit = 120 << 10
    /// The most arguments and variables together: 4096.
    public static let stringLimit = 4096
    /// What a program may write into its files when the submitter does not say: 64 MiB.
    public static let defaultScratchBytes: UInt64 = 64 << 20
    /// Guest memory for a program when the submitter does not say: 256 MiB.
    public static let defaultMemoryBytes: UInt64 = 256 << 20

    /// An archive (tar) of files, known by its digest.
    public struct Layer: Sendable, Hashable {
        /// SHA-256 of the archive.
        public var digest: ContentDigest
        /// Its length in bytes, at least 1.
        public var bytes: UInt64

        /// A layer by digest and length.
        public init(digest: ContentDigest, bytes: UInt64) { (self.digest, self.bytes) = (digest, bytes) }
    }

    /// What the program's clocks show. The raw values are the numbers on the wire.
    public enum Clock: UInt8, Sendable, Hashable, CaseIterable {
        /// The time that it is.
        case real = 1
        /// A time that is the same in each run: it begins at the same instant, and passes only as the program asks for it or
        /// sleeps.
        case fixed = 2

        /// The name on the command line.
        public var name: String {
            switch self {
            case .real: "real"
            case .fixed: "fixed"
            }
        }
    }

    /// The program's path in the guest's files.
    public var path: [UInt8]
    /// `argv`, the program's name first. Strings have no zeros in them.
    public var arguments: [[UInt8]]
    /// `envp`, such as "HOME=/".
    public var environment: [[UInt8]]
    /// The guest's files, the lowest layer first: of two entries for one path that of the later one counts.
    public var layers: [Layer]
    /// What its clocks show.
    public var clock = Clock.real
    /// What its random bytes are made from; nil for bytes that nobody can tell.
    public var seed: UInt64?
    /// The most bytes that it may have written to files at once.
    public var scratchBytes = ProgramSpec.defaultScratchBytes

    /// A program with its parts.
    public init(path: [UInt8], arguments: [[UInt8]], environment: [[UInt8]] = [], layers: [Layer] = []) {
        (self.path, self.arguments, self.environment) = (path, arguments, environment)
        self.layers = layers
    }

    /// Bytes of path, arguments and environment, each with a zero behind it.
    public var stringBytes: Int { (arguments + environment).reduce(path.count + 1) { $0 + $1.count + 1 } }

    /// Bytes of all layers together; nil where that is beyond 64 bits.
    public var layerBytes: UInt64? {
        layers.reduce(0) { sum, layer in
            guard let sum else { return nil }
            let (bytes, overflow) = sum.addingReportingOverflow(layer.bytes)
            return overflow ? nil : bytes
        }
    }
}

/// What is known of a Linux program when it has ended, beyond what every job's result has.
public struct ProgramReport: Sendable, Hashable {
    /// The most different system calls that are named: 64.
    public static let unknownCallLimit = 64
    /// The most bytes of ``place``: 256.
    public static let placeBytesLimit = 256

    /// The signal that ended the process, if one did. The outcome is `exited` with 128 and this number, or `faulted` where it came
    /// of a CPU exception.
    public var signal: UInt8?
    /// System calls that were served.
    public var systemCalls: UInt64
    /// Numbers of system calls that the program made and nothing serves, rising, each once.
    public var unknownCalls: [UInt32]
    /// Where a fault was, by the program's symbols: "main+0x14".
    public var place: String?
    /// The most bytes of guest memory that the process had at once, in whole pages.
    public var peakBytes: UInt64

    /// A report with its parts.
    public init(
        signal: UInt8? = nil, systemCalls: UInt64 = 0, unknownCalls: [UInt32] = [], place: String? = nil,
        peakBytes: UInt64 = 0
    ) {
        (self.signal, self.systemCalls, self.unknownCalls) = (signal, systemCalls, unknownCalls)
        (self.place, self.peakBytes) = (place, peakBytes)
    }
}
