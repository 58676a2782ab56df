// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Crypto
internal import JobModel
internal import KVM

/// What a run of the same job must bring forth again, as one SHA-256: its outcome, steps, registers, output and memory.
///
/// The bytes that are hashed are defined in section 4 of `protocol/PROTOCOL.md`; times and the way in which the worker served the
/// guest are not among them.
struct RunDigest {
    private static let domain = Array("kvmjob-digest-1\0".utf8)

    private var console = SHA256()
    private var portWrites = SHA256()
    /// What several vCPUs were left as, by number.
    private var processors: [UInt8] = []

    /// Takes what the guest wrote, whether or not it will reach anybody.
    mutating func append(_ bytes: some Collection<UInt8>, to channel: OutputChannel) {
        switch channel {
        case .console: console.update(data: Array(bytes))
        // A Linux program writes no ports: its standard error takes their place.
        case .portWrites, .standardError: portWrites.update(data: Array(bytes))
        case .memory, .trace: break
        }
    }

    /// Takes what one of several vCPUs was left as, the first one's first.
    mutating func append(_ processor: ProcessorReport) {
        let values = RegisterName.allCases.flatMap { Self.bigEndian(processor.registers?[$0] ?? 0) }
        processors += [processor.state.rawValue] + Self.steps(processor.steps)
        processors += [processor.registers == nil ? 0 : 1] + values
    }

    /// The digest of a run that has ended; nil if it never came to an end of its own making.
    ///
    /// Costs a pass over the memory that the guest has touched, about a millisecond for each MiB of it.
    func value(of result: JobResult, memory: borrowing GuestMemory) -> [UInt8]? {
        guard let outcome = Self.outcome(result.outcome) else { return nil }
        var hash = SHA256()
        hash.update(data: Self.domain + outcome + Self.steps(result.steps))
        hash.update(data: Self.state(result.registers, result.system))
        hash.update(data: Array(console.finalize()))
        hash.update(data: Array(portWrites.finalize()))
        hash.update(data: Self.memory(memory))
        if !processors.isEmpty { hash.update(data: processors) }
        return Array(hash.finalize())
    }

    private static func memory(_ memory: borrowing GuestMemory) -> [UInt8] {
        var hash = SHA256()
        hash.update(data: bigEndian(memory.bytes))
        memory.forEachOccupiedPage { address, bytes in
            hash.update(data: bigEndian(address))
            hash.update(data: bytes)
        }
        return Array(hash.finalize())
    }

    // MARK: Parts

    /// The outcome's number and its fields, as RESULT carries them; nil for those that say nothing about the guest.
    private static func outcome(_ outcome: Outcome) -> [UInt8]? {
        switch outcome {
        case .halted: [1]
        case .exited(let code): [2] + field(2, bigEndian(code))
        case .faulted(let fault):
            [3] + field(3, [fault.vector]) + (fault.errorCode.map { field(4, bigEndian($0)) } ?? [])
                + (fault.address.map { field(5, bigEndian($0)) } ?? []) + field(6, bigEndian(fault.rip))
        case .tripleFault: [4]
        case .unemulatable(let instruction):
            [5] + (instruction.rip.map { field(6, bigEndian($0)) } ?? [])
                + field(7, Array(instruction.bytes.prefix(15)))
        case .exhausted(let kind, let limit, let used):
            [number(of: kind)] + field(8, bigEndian(limit)) + (isCounted(kind) ? field(9, bigEndian(used)) : [])
        case .cancelled(let canceller): [12] + field(10, [canceller.rawValue])
        case .waitExpired, .hostError: nil
        case .snapshotTaken: [15]
        }
    }

    private static func number(of kind: BudgetKind) -> UInt8 {
        switch kind {
        case .steps: 6
        case .cpuTime: 7
        case .wallTime: 8
        case .exits: 9
        case .output: 10
        case .memory: 11
        }
    }

    /// Whether what was used is a count of what the guest did, as opposed to a measurement.
    private static func isCounted(_ kind: BudgetKind) -> Bool {
        switch kind {
        case .steps, .exits, .output: true
        case .cpuTime, .wallTime, .memory: false
        }
    }

    /// Tag, length, value.
    private static func field(_ tag: UInt16, _ value: [UInt8]) -> [UInt8] {
        bigEndian(tag) + bigEndian(UInt32(value.count)) + value
    }

    private static func steps(_ steps: UInt64?) -> [UInt8] { steps.map { [1] + bigEndian($0) } ?? [0] }

    private static func state(_ registers: Registers?, _ system: SystemRegisters?) -> [UInt8] {
        guard let registers, let system else { return [0] }
        let general = RegisterName.allCases.flatMap { bigEndian(registers[$0]) }
        let segments = SegmentName.allCases.flatMap { name -> [UInt8] in
            let segment = system[keyPath: name.keyPath]
            return bigEndian(segment.base) + bigEndian(segment.limit) + bigEndian(segment.selector)
                + bigEndian(segment.attributes.rawValue)
        }
        let tables = TableName.allCases.flatMap { name -> [UInt8] in
            bigEndian(system[keyPath: name.keyPath].base) + bigEndian(system[keyPath: name.keyPath].limit)
        }
        let controls = ControlName.allCases.flatMap { bigEndian(system[keyPath: $0.keyPath]) }
        return [1] + general + segments + tables + controls + bigEndian(system.apicBase)
    }

    private static func bigEndian<T: FixedWidthInteger & UnsignedInteger>(_ value: T) -> [UInt8] {
        stride(from: T.bitWidth - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> T($0)) }
    }
}
