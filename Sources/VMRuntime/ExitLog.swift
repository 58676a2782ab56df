// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// The last exits that the guest brought about. Takes no memory beyond what it starts with.
struct ExitLog {
    private var ring: [ExitRecord] = []
    /// Where the oldest one is, once the ring is full.
    private var oldest = 0

    init() { ring.reserveCapacity(PostMortem.exitLimit) }

    mutating func append(_ record: ExitRecord) {
        guard ring.count == PostMortem.exitLimit else { return ring.append(record) }
        ring[oldest] = record
        oldest = (oldest + 1) % PostMortem.exitLimit
    }

    /// Oldest first.
    var records: [ExitRecord] { Array(ring[oldest...] + ring[..<oldest]) }
}

extension ExitRecord {
    /// The record of an exit that has been served, or nil for one that the worker brought about.
    init?(_ exit: VMExit, of vcpu: borrowing VirtualCPU) throws(KVMError) {
        let rip = try vcpu.executionPoint().rip
        switch exit {
        case .portIn(let access): self = Self.port(.portIn, access, of: vcpu, rip: rip)
        case .portOut(let access): self = Self.port(.portOut, access, of: vcpu, rip: rip)
        case .mmioRead(let address, let size):
            // Nothing answers there: all ones.
            let value = size < 8 ? (UInt64(1) << (UInt64(size) * 8)) - 1 : .max
            self.init(kind: .mmioRead, size: size, count: 1, address: address, value: value, rip: rip)
        case .mmioWrite(let address, let size, let value):
            self.init(kind: .mmioWrite, size: size, count: 1, address: address, value: value, rip: rip)
        case .halt: self.init(kind: .halt, rip: rip)
        case .shutdown: self.init(kind: .shutdown, rip: rip)
        case .internalError(let suberror, _): self.init(kind: .internalError, value: UInt64(suberror), rip: rip)
        case .failEntry(let reason): self.init(kind: .failEntry, value: reason, rip: rip)
        case .taskPriorityChanged: self.init(kind: .other, value: UInt64(VMExit.taskPriorityReason), rip: rip)
        case .msrRead: self.init(kind: .other, value: UInt64(VMExit.msrReadReason), rip: rip)
        case .msrWrite: self.init(kind: .other, value: UInt64(VMExit.msrWriteReason), rip: rip)
        case .other(let reason): self.init(kind: .other, value: UInt64(reason), rip: rip)
        case .interrupted, .debug: return nil
        }
    }

    private static func port(
        _ kind: Kind, _ access: PortAccess, of vcpu: borrowing VirtualCPU, rip: UInt64
    ) -> ExitRecord {
        ExitRecord(
            kind: kind, size: access.size, count: access.count, address: UInt64(access.port),
            value: UInt64(vcpu.portValue(at: 0, of: access)), rip: rip)
    }
}
