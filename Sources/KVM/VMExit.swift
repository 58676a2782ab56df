// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// Why `KVM_RUN` came back.
public enum VMExit: Sendable, Hashable {
    /// The guest reads a port; give each element with ``VirtualCPU/setPortValue(_:at:of:)``. `KVM_EXIT_IO`, direction in.
    case portIn(PortAccess)
    /// The guest writes a port; take each element with ``VirtualCPU/portValue(at:of:)``. `KVM_EXIT_IO`, direction out.
    case portOut(PortAccess)
    /// The guest reads outside its memory; answer with ``VirtualCPU/setMMIOValue(_:)``. `KVM_EXIT_MMIO`.
    case mmioRead(address: UInt64, size: UInt8)
    /// The guest writes outside its memory. `KVM_EXIT_MMIO`.
    case mmioWrite(address: UInt64, size: UInt8, value: UInt64)
    /// HLT; RIP is behind it. `KVM_EXIT_HLT`.
    case halt
    /// A triple fault. `KVM_EXIT_SHUTDOWN`.
    case shutdown
    /// The CPU refused the guest's state. `KVM_EXIT_FAIL_ENTRY`.
    case failEntry(hardwareReason: UInt64)
    /// KVM could not go on; for an emulation failure, suberror 1, the instruction's bytes where KVM tells them.
    /// `KVM_EXIT_INTERNAL_ERROR`.
    case internalError(suberror: UInt32, instruction: [UInt8])
    /// The run was interrupted by a kick or by another signal. `KVM_EXIT_INTR`.
    case interrupted
    /// The guest lowered its task priority (CR8), which concerns nobody without an interrupt controller. `KVM_EXIT_SET_TPR`.
    case taskPriorityChanged
    /// A single step is done. `linearAddress` is that of the next instruction. `KVM_EXIT_DEBUG`.
    case debug(linearAddress: UInt64)
    /// The guest reads a model-specific register that its filter denies it; answer with ``VirtualCPU/serveMSRRead(_:)``.
    /// `KVM_EXIT_X86_RDMSR`.
    case msrRead(number: UInt32)
    /// Likewise, it writes one; answer with ``VirtualCPU/serveMSRWrite(_:_:)``. `KVM_EXIT_X86_WRMSR`.
    case msrWrite(number: UInt32, value: UInt64)
    /// Any other reason, by the kernel's number.
    case other(reason: UInt32)

    /// The kernel's number of ``taskPriorityChanged``.
    public static let taskPriorityReason = UInt32(KVM_EXIT_SET_TPR)
    /// The kernel's number of ``msrRead(number:)``.
    public static let msrReadReason = UInt32(KVM_EXIT_X86_RDMSR)
    /// The kernel's number of ``msrWrite(number:value:)``.
    public static let msrWriteReason = UInt32(KVM_EXIT_X86_WRMSR)
}

/// A port access: `count` elements of `size` bytes each, all to the same port. A count above 1 is a string instruction.
public struct PortAccess: Sendable, Hashable {
    /// The port.
    public var port: UInt16
    /// Bytes of one element: 1, 2 or 4.
    public var size: UInt8
    /// Elements.
    public var count: UInt32

    /// An access with its parts.
    public init(port: UInt16, size: UInt8, count: UInt32) {
        self.port = port
        self.size = size
        self.count = count
    }
}

extension VMExit {
    /// Reads the exit out of the run area. Only the union member that the reason names is read.
    ///
    /// SAFETY: the caller's run area is mapped, and the vCPU is not inside `KVM_RUN`.
    init(reading run: UnsafeMutablePointer<kvm_run>) {
        let reason = unsafe run.pointee.exit_reason
        switch Int32(bitPattern: reason) {
        case KVM_EXIT_IO: self = unsafe Self.port(run)
        case KVM_EXIT_MMIO: self = unsafe Self.memory(run)
        case KVM_EXIT_HLT: self = .halt
        case KVM_EXIT_SHUTDOWN: self = .shutdown
        case KVM_EXIT_FAIL_ENTRY:
            self = unsafe .failEntry(hardwareReason: run.pointee.fail_entry.hardware_entry_failure_reason)
        case KVM_EXIT_INTERNAL_ERROR: self = unsafe Self.internalError(run)
        case KVM_EXIT_INTR: self = .interrupted
        case KVM_EXIT_SET_TPR: self = .taskPriorityChanged
        case KVM_EXIT_DEBUG: self = unsafe .debug(linearAddress: run.pointee.debug.arch.pc)
        case KVM_EXIT_X86_RDMSR: self = unsafe .msrRead(number: run.pointee.msr.index)
        case KVM_EXIT_X86_WRMSR:
            self = unsafe .msrWrite(number: run.pointee.msr.index, value: run.pointee.msr.data)
        default: self = .other(reason: reason)
        }
    }

    /// Whether the processor behind it need not be one that runs.
    var mayStopProcessor: Bool {
        switch self {
        case .shutdown, .failEntry, .internalError, .other: true
        case .portIn, .portOut, .mmioRead, .mmioWrite, .msrRead, .msrWrite, .halt, .interrupted, .taskPriorityChanged,
            .debug:
            false
        }
    }

    private static func port(_ run: UnsafeMutablePointer<kvm_run>) -> VMExit {
        let io = unsafe run.pointee.io
        let access = PortAccess(port: io.port, size: io.size, count: io.count)
        return Int32(io.direction) == KVM_EXIT_IO_OUT ? .portOut(access) : .portIn(access)
    }

    private static func memory(_ run: UnsafeMutablePointer<kvm_run>) -> VMExit {
        let mmio = unsafe run.pointee.mmio
        let size = UInt8(clamping: min(mmio.len, 8))
        guard mmio.is_write != 0 else { return .mmioRead(address: mmio.phys_addr, size: size) }
        let value = unsafe withUnsafeBytes(of: mmio.data) {
            unsafe UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self))
        }
        let mask = size == 8 ? UInt64.max : (1 << (UInt64(size) * 8)) - 1
        return .mmioWrite(address: mmio.phys_addr, size: size, value: value & mask)
    }

    private static func internalError(_ run: UnsafeMutablePointer<kvm_run>) -> VMExit {
        let failure = unsafe run.pointee.emulation_failure
        let hasBytes =
            failure.suberror == UInt32(KVM_INTERNAL_ERROR_EMULATION) && failure.ndata >= 1
            && failure.flags & UInt64(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0
        guard hasBytes else { return .internalError(suberror: failure.suberror, instruction: []) }
        let count = min(Int(failure.insn_size), 15)
        let bytes = unsafe withUnsafeBytes(of: failure.insn_bytes) { unsafe [UInt8]($0.prefix(count)) }
        return .internalError(suberror: failure.suberror, instruction: bytes)
    }
}
