// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A first value for a register: `--set REG=VALUE`.
struct RegisterAssignment: Hashable, Sendable {
    /// The whole register; a narrower name such as `al` leaves its other bits zero.
    var register: RegisterName
    var value: UInt64

    /// Reads `ax=2` or `r8d=0xffff`.
    ///
    /// - Throws: ``ValueError`` for an unknown name, a value wider than the name, and the instruction pointer, which is
    ///   the entry point's to set.
    init(argument: String) throws(ValueError) {
        guard let equals = argument.firstIndex(of: "=") else {
            throw ValueError("\"\(argument)\" has no \"=\": write REG=VALUE, as in ax=2")
        }
        let name = argument[..<equals].lowercased()
        guard !["ip", "eip", "rip"].contains(name) else {
            throw ValueError("\(name) is where the guest starts: use --entry")
        }
        guard let place = Self.place(named: name) else {
            throw ValueError(
                "\"\(name)\" is no register that can be set: write one of rax to r15, a narrower name of it such as eax, ax, al "
                    + "or r8d, or rflags")
        }
        let text = String(argument[argument.index(after: equals)...])
        let value = try WholeNumber.parse(text)
        guard place.bits == 64 || value >> UInt64(place.bits) == 0 else {
            throw ValueError("\(text) does not fit in \(name), which has \(place.bits) bits")
        }
        (register, self.value) = (place.register, value)
    }

    /// The registers of several assignments.
    ///
    /// - Throws: ``ValueError`` when two name the same register.
    static func merged(_ assignments: [RegisterAssignment]) throws(ValueError) -> [RegisterName: UInt64] {
        var registers: [RegisterName: UInt64] = [:]
        for assignment in assignments {
            guard registers.updateValue(assignment.value, forKey: assignment.register) == nil else {
                throw ValueError("\(assignment.register.name) is set twice: name each register once")
            }
        }
        return registers
    }

    private static func place(named name: String) -> (register: RegisterName, bits: Int)? {
        for register in RegisterName.allCases where register != .rip {
            guard let index = names(of: register).firstIndex(of: name) else { continue }
            return (register, 64 >> index)
        }
        return nil
    }

    /// The names of a register at 64, 32, 16 and, where it has one, 8 bits. The high bytes (`ah`) are left out.
    private static func names(of register: RegisterName) -> [String] {
        let full = register.name
        let stem = String(full.dropFirst())
        return switch register {
        case .rax, .rbx, .rcx, .rdx: [full, "e" + stem, stem, "\(stem.prefix(1))l"]
        case .rsi, .rdi, .rbp, .rsp: [full, "e" + stem, stem, stem + "l"]
        case .r8, .r9, .r10, .r11, .r12, .r13, .r14, .r15: [full, full + "d", full + "w", full + "b"]
        case .rip, .rflags: [full, "e" + stem, stem]
        }
    }
}
