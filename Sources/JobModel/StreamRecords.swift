// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A piece of a memory window on ``OutputChannel/memory``. Bytes of a window that no record covers are zero.
///
/// A record without bytes, at the address behind a window, ends it; a window without its end was cut short.
///
/// On the wire: address u64, count u32, then the bytes; big-endian.
public struct MemoryRecord: Sendable, Hashable {
    /// The most bytes of memory in one record: 32 KiB.
    public static let limit = 32 << 10
    /// Bytes in front of the memory's own.
    public static let headerBytes = 12

    /// The guest physical address of the first byte.
    public var address: UInt64
    /// The bytes, at most ``limit``.
    public var bytes: [UInt8]

    /// A record with its parts.
    public init(address: UInt64, bytes: [UInt8]) { (self.address, self.bytes) = (address, bytes) }

    /// The record's bytes.
    public var encoded: [UInt8] {
        var encoded: [UInt8] = []
        encoded.reserveCapacity(Self.headerBytes + bytes.count)
        encoded.append(number: address, bytes: 8)
        encoded.append(number: UInt64(bytes.count), bytes: 4)
        encoded.append(contentsOf: bytes)
        return encoded
    }
}

/// One thing that the guest did, on ``OutputChannel/trace``, in the order in which it happened.
public enum TraceRecord: Sendable, Hashable {
    /// An instruction retired.
    case step(TraceStep)
    /// The guest left `KVM_RUN`; before or behind the step of the same instruction, where that retired.
    case exit(ExitRecord)

    /// The first byte of a record.
    enum Kind: UInt8 {
        case step = 1
        case exit = 2
    }

    /// The record's bytes: kind u8, then as ``TraceStep`` and ``ExitRecord`` say.
    public var encoded: [UInt8] {
        switch self {
        case .step(let step): [Kind.step.rawValue] + step.encoded
        case .exit(let record): [Kind.exit.rawValue] + record.encoded
        }
    }
}

/// One instruction that retired, and the general registers that it changed.
///
/// On the wire, behind the record's kind: n u8, changes u8, bits u8 (16, 32 or 64), rip u64, linear u64, n bytes of code, then for each change
/// a register's number u8 and its value u64; big-endian.
public struct TraceStep: Sendable, Hashable {
    /// The most bytes of code: 15.
    public static let codeLimit = 15
    /// The most registers that can change: all but RIP.
    public static let changeLimit = RegisterName.allCases.count - 1

    /// RIP of the instruction, as an offset in the code segment.
    public var rip: UInt64
    /// Its linear address.
    public var linearAddress: UInt64
    /// The size of its code segment: 16, 32 or 64.
    public var bits: UInt8
    /// Bytes of memory from there on; may be longer than the instruction.
    public var code: [UInt8]
    /// The registers that differ from those before it, but for RIP; rising by number.
    public var changes: [RegisterChange]

    /// One register's new value.
    public struct RegisterChange: Sendable, Hashable {
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        public var name: RegisterName, value: UInt64

        /// A change with its parts.
        public init(name: RegisterName, value: UInt64) { (self.name, self.value) = (name, value) }
    }

    /// A step with its parts.
    public init(rip: UInt64, linearAddress: UInt64, bits: UInt8, code: [UInt8], changes: [RegisterChange]) {
        (self.rip, self.linearAddress, self.bits) = (rip, linearAddress, bits)
        (self.code, self.changes) = (Array(code.prefix(Self.codeLimit)), changes)
    }

    var encoded: [UInt8] {
        precondition(code.count <= Self.codeLimit && changes.count <= Self.changeLimit, "a step is within its limits")
        var encoded: [UInt8] = [UInt8(code.count), UInt8(changes.count), bits]
        encoded.append(number: rip, bytes: 8)
        encoded.append(number: linearAddress, bytes: 8)
        encoded.append(contentsOf: code)
        for change in changes {
            encoded.append(change.name.rawValue)
            encoded.append(number: change.value, bytes: 8)
        }
        return encoded
    }
}

extension ExitRecord {
    /// Bytes of a record: 32.
    public static let recordBytes = 32

    /// The record: kind u8, size u8, zero u16, count u32, address u64, value u64, rip u64; big-endian.
    public var encoded: [UInt8] {
        var encoded: [UInt8] = [kind.rawValue, size, 0, 0]
        encoded.append(number: UInt64(count), bytes: 4)
        encoded.append(number: address, bytes: 8)
        encoded.append(number: value, bytes: 8)
        encoded.append(number: rip, bytes: 8)
        return encoded
    }

    /// The exit that a record describes, or nil if it is not ``recordBytes`` long or its kind is not known here.
    public init?(record: some Collection<UInt8>) {
        guard record.count == Self.recordBytes else { return nil }
        var reader = RecordReader(Array(record)[...])
        guard let record = ExitRecord(&reader) else { return nil }
        self = record
    }

    init?(_ reader: inout RecordReader) {
        guard let kind = reader.byte().flatMap(Kind.init(rawValue:)), let size = reader.byte(),
            reader.number(bytes: 2) != nil, let count = reader.number(bytes: 4), let address = reader.number(bytes: 8),
            let value = reader.number(bytes: 8), let rip = reader.number(bytes: 8)
        else { return nil }
        self.init(
            kind: kind, size: size, count: UInt32(truncatingIfNeeded: count), address: address, value: value, rip: rip)
    }
}

extension TraceStep {
    /// Bytes of a step's record in front of its code, the record's kind included.
    static let headerBytes = 20
    private static let changeBytes = 9

    /// Bytes of the record that begins with these, or nil if that cannot be told yet. A record that promises more code or
    /// changes than a step can have is not waited for: its decoding finds it wrong.
    static func size(of record: ArraySlice<UInt8>) -> Int? {
        guard record.count >= headerBytes else { return nil }
        let (code, changes) = (Int(record[record.startIndex + 1]), Int(record[record.startIndex + 2]))
        guard code <= codeLimit, changes <= changeLimit else { return headerBytes }
        return headerBytes + code + changes * changeBytes
    }

    init?(_ reader: inout RecordReader) {
        guard let codeBytes = reader.byte(), let changeCount = reader.byte(), let bits = reader.byte(),
            codeBytes <= Self.codeLimit, changeCount <= Self.changeLimit, [16, 32, 64].contains(bits),
            let rip = reader.number(bytes: 8), let linear = reader.number(bytes: 8),
            let code = reader.bytes(Int(codeBytes)), let changes = Self.changes(&reader, Int(changeCount))
        else { return nil }
        self.init(rip: rip, linearAddress: linear, bits: bits, code: code, changes: changes)
    }

    /// This many changes, which rise strictly by number.
    private static func changes(_ reader: inout RecordReader, _ count: Int) -> [RegisterChange]? {
        var changes: [RegisterChange] = []
        for _ in 0..<count {
            guard let name = reader.byte().flatMap(RegisterName.init(rawValue:)), name != .rip,
                changes.last.map({ $0.name.rawValue < name.rawValue }) ?? true, let value = reader.number(bytes: 8)
            else { return nil }
            changes.append(RegisterChange(name: name, value: value))
        }
        return changes
    }
}

/// Takes records out of a stream whose pieces end anywhere.
///
/// Bytes that make no record, which no worker sends, end the stream here: ``isBroken``.
///
/// What does not make a record yet stays here, never more than the longest record has.
public struct RecordDecoder<Record: Sendable>: Sendable {
    private var pending: [UInt8] = []
    /// Whether the stream held something that is no record.
    public private(set) var isBroken = false
    private let size: @Sendable (ArraySlice<UInt8>) -> Int?
    private let decode: @Sendable (inout RecordReader) -> Record?

    /// Bytes of a record that is not complete.
    public var pendingBytes: Int { pending.count }

    /// The records that these bytes complete.
    public mutating func feed(_ bytes: some Collection<UInt8>) -> [Record] {
        guard !isBroken else { return [] }
        pending.append(contentsOf: bytes)
        var (records, start) = ([Record](), 0)
        while let count = size(pending[start...]), count <= pending.count - start {
            var reader = RecordReader(pending[start..<start + count])
            guard let record = decode(&reader) else {
                (isBroken, pending) = (true, [])
                return records
            }
            records.append(record)
            start += count
        }
        if start > 0 { pending.removeFirst(start) }
        return records
    }
}

extension RecordDecoder where Record == MemoryRecord {
    /// A decoder of ``OutputChannel/memory``.
    public init() {
        size = { bytes in
            var reader = RecordReader(bytes.dropFirst(8))
            // A count above the limit is no record, which its decoding finds out.
            return reader.number(bytes: 4).map { MemoryRecord.headerBytes + ($0 > MemoryRecord.limit ? 0 : Int($0)) }
        }
        decode = { reader in
            guard let address = reader.number(bytes: 8), let count = reader.number(bytes: 4),
                count <= MemoryRecord.limit, let bytes = reader.bytes(Int(count))
            else { return nil }
            return MemoryRecord(address: address, bytes: bytes)
        }
    }
}

extension RecordDecoder where Record == TraceRecord {
    /// A decoder of ``OutputChannel/trace``.
    public init() {
        size = { bytes in
            var reader = RecordReader(bytes)
            guard let kind = reader.byte() else { return nil }
            switch TraceRecord.Kind(rawValue: kind) {
            case .step: return TraceStep.size(of: bytes)
            case .exit: return 1 + ExitRecord.recordBytes
            case nil: return 1  // No record, which its decoding finds out.
            }
        }
        decode = { reader in
            switch reader.byte().flatMap(TraceRecord.Kind.init(rawValue:)) {
            case .step: TraceStep(&reader).map(TraceRecord.step)
            case .exit: ExitRecord(&reader).map(TraceRecord.exit)
            case nil: nil
            }
        }
    }
}

/// Reads the parts of one record.
struct RecordReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    mutating func byte() -> UInt8? { rest.popFirst() }

    mutating func number(bytes count: Int) -> UInt64? {
        bytes(count)?.reduce(0) { $0 << 8 | UInt64($1) }
    }

    mutating func bytes(_ count: Int) -> [UInt8]? {
        guard rest.count >= count else { return nil }
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }
}

extension [UInt8] {
    fileprivate mutating func append(number: UInt64, bytes: Int) {
        for index in (0..<bytes).reversed() { append(UInt8(truncatingIfNeeded: number >> (UInt64(index) * 8))) }
    }
}
