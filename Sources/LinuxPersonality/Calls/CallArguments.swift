// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The arguments of a system call: six registers, none of them to be trusted.
struct CallArguments: Sendable {
    /// RDI, RSI, RDX, R10, R8 and R9.
    let registers: [6 of UInt64]

    init(_ registers: [6 of UInt64]) { self.registers = registers }

    /// Those of the call that the registers ask for.
    init(_ registers: Registers) {
        self.init([registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9])
    }

    subscript(_ index: Int) -> UInt64 { registers[index] }

    /// An argument that the kernel takes as an `int`: its upper half means nothing.
    func int(_ index: Int) -> Int32 { Int32(truncatingIfNeeded: registers[index]) }

    /// An argument that the kernel takes as an `unsigned int`.
    func uint(_ index: Int) -> UInt32 { UInt32(truncatingIfNeeded: registers[index]) }

    /// An argument that the kernel takes as a `long`.
    func long(_ index: Int) -> Int64 { Int64(bitPattern: registers[index]) }
}
