// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// The frame that the processor pushed on the ring-0 stack when an exception of a program at ring 3 reached its stub.
///
/// From the lower addresses up: error code where the vector has one, RIP, CS, RFLAGS, RSP, SS; 8 bytes each.
struct ExceptionFrame {
    /// The vCPU's registers in the stub.
    let registers: Registers
    let system: SystemRegisters

    private let area: Area

    /// Where the stubs are, and the stack.
    enum Area {
        /// Those of a `user64` guest, at their guest physical addresses.
        case identity
        /// Those of a Linux program.
        case program

        var stubs: UInt64 {
            switch self {
            case .identity: SystemArea.stubs
            case .program: ProgramArea.stubs
            }
        }

        func physicalAddress(of address: UInt64) -> UInt64 {
            switch self {
            case .identity: address
            case .program: ProgramArea.physicalAddress(of: address)
            }
        }
    }

    static let pageFault: UInt8 = 14
    /// Bytes of a frame with an error code.
    static let largest = 6 * 8
    /// RFLAGS.TF.
    static let trapFlag: UInt64 = 1 << 8
    /// RFLAGS.RF, which the processor sets in the frame of a fault; the program had it clear.
    private static let resumeFlag: UInt64 = 1 << 16

    init(registers: Registers, system: SystemRegisters, in area: Area = .identity) {
        (self.registers, self.system, self.area) = (registers, system, area)
    }

    /// The exception's number: each vector has its own stub.
    var vector: UInt8 { UInt8(truncatingIfNeeded: (registers.rip &- area.stubs) / SystemArea.stubBytes) }

    private var hasErrorCode: Bool { ProgramArea.withErrorCode.contains(vector) }
    /// Where the frame begins, in guest physical memory.
    private var bottom: UInt64 { area.physicalAddress(of: registers.rsp) }
    /// Where the saved RIP is.
    private var top: UInt64 { bottom &+ (hasErrorCode ? 8 : 0) }
    var flagsAddress: UInt64 { top &+ 16 }

    /// What happened, and the program's registers. A frame that cannot be read, which only a guest that rewrote its own tables
    /// could bring about, reads as zeros.
    func decode(from memory: borrowing GuestMemory) -> (fault: Fault, registers: Registers) {
        var program = registers
        program.rip = memory.word(at: top) ?? 0
        program.rflags = (memory.word(at: flagsAddress) ?? 0) & ~Self.resumeFlag
        program.rsp = memory.word(at: top &+ 24) ?? 0
        let fault = Fault(
            vector: vector,
            errorCode: hasErrorCode ? memory.word(at: bottom).map { UInt32(truncatingIfNeeded: $0) } : nil,
            address: vector == Self.pageFault ? system.cr2 : nil, rip: program.rip)
        return (fault, program)
    }

    /// Whether the program was in 64-bit code, and not in the 32-bit segment that a far return can bring it to.
    func isProgram64Bit(_ memory: borrowing GuestMemory) -> Bool {
        memory.word(at: top &+ 8).map { UInt16(truncatingIfNeeded: $0) } == SystemArea.userSegments.code.selector
    }

    /// Puts the program's CS and SS back in place of the stub's.
    func restoreSegments(in system: inout SystemRegisters, from memory: borrowing GuestMemory) {
        let start = SystemArea.userSegments
        (system.cs, system.ss) = (start.code, start.data)
        if !isProgram64Bit(memory) { system.cs.attributes = SystemArea.userCode32 }
        system.cs.selector = UInt16(truncatingIfNeeded: memory.word(at: top &+ 8) ?? 0)
        system.ss.selector = UInt16(truncatingIfNeeded: memory.word(at: top &+ 32) ?? 0)
    }
}
