// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// Reads what is left of a guest when its job has ended: the bytes around its next instruction, those on its stack, its
/// floating-point state, and the exception that a triple fault began with.
struct Inquest {
    let machine: Machine
    let backend: BackendProfile
    let report: ReportContents

    /// Fills in what the job asked for, and a triple fault's cause in any case. Without registers in the result, which some
    /// backends lose, nothing of the vCPU is known.
    func fill(_ result: inout JobResult) throws(KVMError) {
        guard let registers = result.registers, let system = result.system else { return }
        let point = ExecutionPoint(registers, system)
        if report.contains(.code) { result.postMortem.code = try code(at: point) }
        if report.contains(.stack) { result.postMortem.stack = try stack(registers, system, at: point) }
        if report.contains(.fpu) { result.postMortem.fpu = try machine.current.vcpu.floatingPointState() }
        if case .tripleFault = result.outcome { result.postMortem.cause = try cause(registers, system) }
    }

    /// nil where neither the instruction nor the byte before it is in memory.
    private func code(at point: ExecutionPoint) throws(KVMError) -> MemoryWindow? {
        let rip = point.linearAddress
        let before = try machine.bytes(before: rip, count: PostMortem.codeBytesBefore, at: point)
        let after = try machine.bytes(
            from: rip, through: point.lastAddress, count: PostMortem.codeLimit - before.count, at: point)
        guard !before.isEmpty || !after.isEmpty else { return nil }
        return MemoryWindow(address: rip - UInt64(before.count), bytes: before + after)
    }

    /// nil where the stack pointer points at no memory, as it does on an empty stack at memory's end.
    private func stack(
        _ registers: Registers, _ system: SystemRegisters, at point: ExecutionPoint
    ) throws(KVMError) -> MemoryWindow? {
        let top: UInt64
        var last = point.lastAddress
        if point.is64Bit {
            top = registers.rsp
        } else if system.ss.attributes.db {
            top = (system.ss.base &+ registers.rsp) & 0xFFFF_FFFF
        } else {
            top = (system.ss.base &+ (registers.rsp & 0xFFFF)) & 0xFFFF_FFFF
            // A stack of 64 KiB goes on at its own beginning, which is no longer above the stack pointer.
            last = min(last, top + (0xFFFF - (registers.rsp & 0xFFFF)))
        }
        let bytes = try machine.bytes(from: top, through: last, count: PostMortem.stackLimit, at: point)
        return bytes.isEmpty ? nil : MemoryWindow(address: top, bytes: bytes)
    }

    /// The exception at RIP that led to the triple fault. It can be told where KVM raises the exceptions itself: it keeps the
    /// one that it could not deliver. Where the processor does, nobody knows.
    private func cause(_ registers: Registers, _ system: SystemRegisters) throws(KVMError) -> Fault? {
        guard backend.tellsExceptions, let raised = try machine.current.vcpu.raisedException() else { return nil }
        return Fault(
            vector: raised.vector, errorCode: raised.errorCode,
            address: raised.vector == ExceptionFrame.pageFault ? system.cr2 : nil, rip: registers.rip)
    }
}

extension ExecutionPoint {
    /// The last linear address that code here can reach.
    var lastAddress: UInt64 { is64Bit ? .max : 0xFFFF_FFFF }
}

extension Machine {
    /// Bytes from a linear address on, until a page is not there, or is not in guest memory, or the count is reached.
    func bytes(
        from linear: UInt64, through last: UInt64, count: Int, at point: ExecutionPoint
    ) throws(KVMError) -> [UInt8] {
        var bytes: [UInt8] = []
        var next = linear
        while bytes.count < count, next <= last {
            let inPage = GuestMemory.pageBytes - next % GuestMemory.pageBytes
            let wanted = min(UInt64(count - bytes.count), inPage, (last - next).addingReportingOverflow(1).partialValue)
            guard let part = try part(at: next, count: wanted, point) else { break }
            bytes += part
            let end = next.addingReportingOverflow(UInt64(part.count))
            guard !end.overflow, part.count == wanted else { break }
            next = end.partialValue
        }
        return bytes
    }

    /// Bytes up to a linear address, from the lowest one on from which all are in memory, and no more than the count.
    func bytes(before linear: UInt64, count: Int, at point: ExecutionPoint) throws(KVMError) -> [UInt8] {
        var bytes: [UInt8] = []
        var end = linear
        while bytes.count < count, end > 0 {
            let inPage = (end - 1) % GuestMemory.pageBytes + 1
            let wanted = min(UInt64(count - bytes.count), inPage)
            guard let part = try part(at: end - wanted, count: wanted, point), part.count == wanted else { break }
            bytes = part + bytes
            end -= wanted
        }
        return bytes
    }

    /// Bytes within one page; fewer where memory ends, nil where there is none.
    private func part(at linear: UInt64, count: UInt64, _ point: ExecutionPoint) throws(KVMError) -> [UInt8]? {
        guard let physical = try physicalAddress(of: linear, at: point), physical < vm.memory.bytes else { return nil }
        return vm.memory.read(at: physical, count: Int(min(count, vm.memory.bytes - physical)))
    }
}
