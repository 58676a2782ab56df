// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What became of a vector's job.
struct Observation: Sendable, Hashable {
    let outcome: Outcome
    /// The registers at the end, wider than the vector's: an IP beyond 0xFFFF is a finding. Nil where they are not known.
    private let registers: Registers?
    private let system: SystemRegisters?
    private let records: [MemoryRecord]

    init(_ result: JobResult, memory records: [MemoryRecord]) {
        (outcome, registers, system) = (result.outcome, result.registers, result.system)
        self.records = records
    }

    var hasRegisters: Bool { registers != nil && system != nil }

    /// A register; 0 where it is not known.
    subscript(register: TestVector.Register) -> UInt64 {
        guard let registers, let system else { return 0 }
        return switch register {
        case .ax: registers.rax
        case .bx: registers.rbx
        case .cx: registers.rcx
        case .dx: registers.rdx
        case .sp: registers.rsp
        case .bp: registers.rbp
        case .si: registers.rsi
        case .di: registers.rdi
        case .ip: registers.rip
        case .flags: registers.rflags
        case .cs: UInt64(system.cs.selector)
        case .ss: UInt64(system.ss.selector)
        case .ds: UInt64(system.ds.selector)
        case .es: UInt64(system.es.selector)
        }
    }

    /// A byte of memory. What no record covers is zero.
    func memory(at address: UInt32) -> UInt8 {
        for record in records where record.address <= address {
            let offset = UInt64(address) - record.address
            if offset < record.bytes.count { return record.bytes[Int(offset)] }
        }
        return 0
    }

    /// The exception, unknown to the vector, that the instruction raised.
    var exception: UInt8? {
        guard outcome == .halted else { return nil }
        return ExceptionTrap.exception(cs: UInt16(truncatingIfNeeded: self[.cs]), ip: self[.ip])
    }
}
