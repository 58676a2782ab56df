// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// How a guest's vCPU starts: which processor mode, and at which privilege.
///
/// The raw values are the numbers on the wire.
public enum GuestMode: UInt8, Sendable, Hashable, CaseIterable {
    /// 16-bit real mode, as a PC's firmware hands over to a boot sector. All segments zero.
    case real16 = 1
    /// 32-bit protected mode at ring 0 with flat 4 GiB segments and no paging.
    case protected32 = 2
    /// 64-bit long mode at ring 0, the first 4 GiB identity-mapped.
    case long64 = 3
    /// 64-bit long mode at ring 3, the first 4 GiB identity-mapped. Native speed on every KVM backend.
    case user64 = 4
    /// A Linux program at ring 3, whose system calls the worker serves: ``JobSpec/program``.
    case linux = 5

    /// The modes in which bare images run: all but ``linux``.
    public static let imageModes = [real16, protected32, long64, user64]

    /// Guest memory when the submitter names none: ``ProgramSpec/defaultMemoryBytes`` or ``JobSpec/defaultMemoryBytes``.
    public var defaultMemoryBytes: UInt64 {
        self == .linux ? ProgramSpec.defaultMemoryBytes : JobSpec.defaultMemoryBytes
    }

    /// The name in the command line, in JSON and in logs.
    public var name: String {
        switch self {
        case .real16: "real16"
        case .protected32: "protected32"
        case .long64: "long64"
        case .user64: "user64"
        case .linux: "linux"
        }
    }

    /// The mode with this ``name``.
    public init?(name: String) {
        guard let mode = GuestMode.allCases.first(where: { $0.name == name }) else { return nil }
        self = mode
    }
}
