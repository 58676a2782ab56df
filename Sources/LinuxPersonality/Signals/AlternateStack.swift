// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Where handlers with `SA_ONSTACK` run: what `sigaltstack` has put in place for a thread.
struct AlternateStack: Sendable, Hashable {
    /// The smallest one: `MINSIGSTKSZ`.
    static let smallest: UInt64 = 2048
    /// The size of a `stack_t`.
    static let bytes = 24

    var start: UInt64 = 0
    /// 0 where there is none.
    var count: UInt64 = 0
    var flags = Self.disabled

    /// `SS_ONSTACK`
    static let inUse: UInt32 = 1
    /// `SS_DISABLE`
    static let disabled: UInt32 = 2
    /// `SS_AUTODISARM`: a handler that runs there has none.
    static let autoDisarm: UInt32 = 1 << 31

    var disarms: Bool { flags & Self.autoDisarm != 0 }

    /// Whether a stack pointer is in it.
    func holds(_ pointer: UInt64) -> Bool { pointer > start && pointer - start <= count }

    /// Whether the thread is on it already, so that a further handler goes on there.
    func isInUse(at pointer: UInt64) -> Bool { !disarms && holds(pointer) }

    /// `ss_flags` as a program sees it.
    func state(at pointer: UInt64) -> UInt32 {
        count == 0 ? Self.disabled : isInUse(at: pointer) ? Self.inUse : 0
    }

    /// What a program asks for.
    ///
    /// - Throws: EPERM while the thread is on it, EINVAL for unknown flags, ENOMEM for less than ``smallest``.
    mutating func set(_ other: AlternateStack, at pointer: UInt64) throws(Errno) {
        guard !isInUse(at: pointer) else { throw .eperm }
        var other = other
        switch other.flags & ~Self.autoDisarm {
        case Self.disabled: (other.start, other.count) = (0, 0)
        case 0, Self.inUse: guard other.count >= Self.smallest else { throw .enomem }
        default: throw .einval
        }
        self = other
    }

    func record(flags: UInt32) -> [UInt8] {
        var record = GuestRecord()
        record.append(start)
        record.append(UInt64(flags))
        record.append(count)
        return record.bytes
    }
}

extension GuestRecord {
    /// The little-endian word that begins at an offset of some bytes.
    static func word(_ bytes: some RandomAccessCollection<UInt8>, at offset: Int, count: Int = 8) -> UInt64 {
        bytes.dropFirst(offset).prefix(count).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}

extension AlternateStack {
    /// A `stack_t`.
    init(record: [UInt8]) {
        start = GuestRecord.word(record, at: 0)
        flags = UInt32(truncatingIfNeeded: GuestRecord.word(record, at: 8, count: 4))
        count = GuestRecord.word(record, at: 16)
    }
}
