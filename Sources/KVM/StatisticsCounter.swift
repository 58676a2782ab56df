// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// One counter of a vCPU's binary statistics: `KVM_GET_STATS_FD`.
struct StatisticsCounter: ~Copyable, Sendable {
    /// More descriptors than any kernel has, and longer names.
    private static let maximumDescriptors: UInt32 = 4096
    private static let maximumNameBytes: UInt32 = 256

    private let descriptor: OwnedDescriptor
    private let offset: UInt64

    /// nil where the kernel has no such statistic.
    init?(named name: String, of vcpu: Int32) {
        let number = ckvm_ioctl_number(vcpu, CKVM_GET_STATS_FD, 0)
        guard number >= 0 else { return nil }
        let descriptor = OwnedDescriptor(number)
        guard let offset = Self.find(name, in: descriptor.number) else { return nil }
        self.descriptor = descriptor
        self.offset = offset
    }

    /// The counter now; costs one `pread`, which does not touch the vCPU.
    borrowing func value() -> UInt64? {
        var value: UInt64 = 0
        // SAFETY: `value` has the eight bytes that are asked for.
        let got = unsafe ckvm_read_at(descriptor.number, &value, 8, offset)
        return got == 8 ? UInt64(littleEndian: value) : nil
    }

    /// Layout: `kvm_stats_header` {flags, name_size, num_desc, id_offset, desc_offset, data_offset}, then descriptors
    /// {flags u32, exponent s16, size u16, offset u32, bucket_size u32, name}.
    private static func find(_ name: String, in descriptor: Int32) -> UInt64? {
        guard let header = read(descriptor, count: 24, at: 0) else { return nil }
        let nameBytes = UInt32(truncatingIfNeeded: number(header, at: 4, bytes: 4))
        let count = UInt32(truncatingIfNeeded: number(header, at: 8, bytes: 4))
        guard nameBytes <= maximumNameBytes, count <= maximumDescriptors else { return nil }
        let stride = 16 + Int(nameBytes)
        guard let table = read(descriptor, count: stride * Int(count), at: number(header, at: 16, bytes: 4)) else {
            return nil
        }
        let wanted = Array(name.utf8)
        for start in Swift.stride(from: 0, to: table.count, by: stride)
        where table[(start + 16)..<(start + stride)].prefix(while: { $0 != 0 }).elementsEqual(wanted) {
            return number(header, at: 20, bytes: 4) + number(table, at: start + 8, bytes: 4)
        }
        return nil
    }

    private static func read(_ descriptor: Int32, count: Int, at offset: UInt64) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        let got = unsafe bytes.withUnsafeMutableBytes { raw -> Int64 in
            guard let base = raw.baseAddress else { return 0 }
            // SAFETY: the buffer has as many bytes as are asked for.
            return unsafe ckvm_read_at(descriptor, base, UInt64(count), offset)
        }
        return got == Int64(count) ? bytes : nil
    }

    private static func number(_ bytes: [UInt8], at offset: Int, bytes count: Int) -> UInt64 {
        bytes[offset..<(offset + count)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
