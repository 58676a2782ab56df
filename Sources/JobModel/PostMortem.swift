// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a result tells of a job's end beyond its figures and registers, so that nobody has to run it again to see why it ended.
///
/// The worker sends bytes and never takes instructions apart: disassembly is the client's.
public struct PostMortem: Sendable, Hashable {
    /// The most bytes of memory in ``code``: 128.
    public static let codeLimit = 128
    /// Bytes of ``code`` before RIP, as far as memory goes: 48.
    public static let codeBytesBefore = 48
    /// The most bytes of memory in ``stack``: 512.
    public static let stackLimit = 512
    /// The most exits that are kept: 32.
    public static let exitLimit = 32
    /// Bytes of ``fpu``: 512.
    public static let fpuBytes = 512

    /// Of a triple fault: the exception that started it, where it can be told.
    public var cause: Fault?
    /// Memory around RIP.
    public var code: MemoryWindow?
    /// Memory from the stack pointer upwards.
    public var stack: MemoryWindow?
    /// The last exits that the guest brought about, oldest first.
    public var exits: [ExitRecord] = []
    /// x87 and SSE state, as FXSAVE stores it in 64-bit mode.
    public var fpu: [UInt8]?

    /// Nothing is known.
    public init() {}
}

/// Bytes of guest memory by the linear address of the first.
public struct MemoryWindow: Sendable, Hashable {
    /// The linear address of the first byte.
    public var address: UInt64
    /// The bytes.
    public var bytes: [UInt8]

    /// A window with its parts.
    public init(address: UInt64, bytes: [UInt8]) { (self.address, self.bytes) = (address, bytes) }
}

/// One return from `KVM_RUN` that the guest brought about.
public struct ExitRecord: Sendable, Hashable {
    /// What it was. The raw values are the numbers on the wire.
    public enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case portIn = 1, portOut, mmioRead, mmioWrite, halt, shutdown, internalError, failEntry, other

        /// The name in JSON.
        public var name: String {
            switch self {
            case .portIn: "port-in"
            case .portOut: "port-out"
            case .mmioRead: "mmio-read"
            case .mmioWrite: "mmio-write"
            case .halt: "halt"
            case .shutdown: "shutdown"
            case .internalError: "internal-error"
            case .failEntry: "fail-entry"
            case .other: "other"
            }
        }
    }

    /// What it was.
    public var kind: Kind
    /// Bytes of one element of a port or memory access, else 0.
    public var size: UInt8
    /// Elements of a port access, 1 for a memory access, else 0.
    public var count: UInt32
    /// The port or the physical address, else 0.
    public var address: UInt64
    /// The first element's value as written or answered; of an error its number; else 0.
    public var value: UInt64
    /// RIP as KVM showed it: behind the instruction for most exits, at it for reads.
    public var rip: UInt64

    /// A record with its parts.
    public init(kind: Kind, size: UInt8 = 0, count: UInt32 = 0, address: UInt64 = 0, value: UInt64 = 0, rip: UInt64) {
        (self.kind, self.size, self.count) = (kind, size, count)
        (self.address, self.value, self.rip) = (address, value, rip)
    }
}

/// Where a job stands whose steps are used up and which can be continued.
public struct Pause: Sendable, Hashable {
    /// Steps taken so far.
    public var steps: UInt64
    /// Nanoseconds that the machine is kept; then the job ends as `steps-exhausted`.
    public var keepNanoseconds: UInt64
    /// The general registers, or nil where they are not known.
    public var registers: Registers?
    /// Segments and control registers, or nil likewise.
    public var system: SystemRegisters?

    /// A pause with its parts.
    public init(
        steps: UInt64, keepNanoseconds: UInt64, registers: Registers? = nil, system: SystemRegisters? = nil
    ) {
        (self.steps, self.keepNanoseconds) = (steps, keepNanoseconds)
        (self.registers, self.system) = (registers, system)
    }
}
