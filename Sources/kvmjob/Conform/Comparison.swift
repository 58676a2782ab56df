// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Something that is not as the vector says.
enum Difference: Sendable, Hashable {
    /// The instruction was not one step that came to its end.
    case outcome(String)
    case register(TestVector.Register, expected: UInt16, seen: UInt64)
    /// FLAGS, of which only the defined ones count.
    case flags(expected: UInt16, seen: UInt16)
    case memory(UInt32, expected: UInt8, seen: UInt8)

    /// For people: what was seen, and what should have been.
    var text: String {
        switch self {
        case .outcome(let text): text
        case .register(let register, let expected, let seen):
            "\(register.rawValue) \(HexText.describe(seen)) for \(HexText.describe(expected))"
        case .flags(let expected, let seen): "flags \(HexText.describe(seen)) for \(HexText.describe(expected))"
        case .memory(let address, let expected, let seen):
            "[\(HexText.describe(address))] \(HexText.describe(seen)) for \(HexText.describe(expected))"
        }
    }
}

/// A vector, what became of it, and how far the two go together.
struct Comparison: Sendable {
    let vector: TestVector
    let instruction: InstructionForm
    let seen: Observation
    /// Nothing if they agree.
    let differences: [Difference]

    private static let halt: UInt8 = 0xF4

    /// - Parameter definedFlags: the flags that this instruction leaves defined.
    init(_ vector: TestVector, _ seen: Observation, definedFlags: UInt16 = .max) {
        (self.vector, self.seen) = (vector, seen)
        instruction = InstructionForm(vector.bytes)
        let ended = Self.isOneStep(seen.outcome, of: instruction)
        let state =
            seen.hasRegisters
            ? Self.registers(vector, seen, definedFlags & VectorJob.flags) + Self.memory(vector, seen) : []
        differences = ended && seen.hasRegisters ? state : [.outcome(Self.text(of: seen))] + (ended ? [] : state)
    }

    private static func isOneStep(_ outcome: Outcome, of instruction: InstructionForm) -> Bool {
        if instruction.opcode == halt { return outcome == .halted }
        guard case .exhausted(.steps, _, used: 1) = outcome else { return false }
        return true
    }

    private static func text(of seen: Observation) -> String {
        if let exception = seen.exception {
            return Fault(vector: exception, errorCode: nil, address: nil, rip: 0).title
        }
        guard case .hostError(let text) = seen.outcome else { return seen.outcome.name }
        return text
    }

    private static func registers(_ vector: TestVector, _ seen: Observation, _ flags: UInt16) -> [Difference] {
        TestVector.Register.allCases.compactMap { register in
            let expected = vector.expected(register)
            guard register == .flags else {
                let value = seen[register]
                return value == UInt64(expected) ? nil : .register(register, expected: expected, seen: value)
            }
            let value = UInt16(truncatingIfNeeded: seen[.flags]) & flags
            return value == expected & flags ? nil : .flags(expected: expected & flags, seen: value)
        }
    }

    private static func memory(_ vector: TestVector, _ seen: Observation) -> [Difference] {
        vector.expectedMemory.sorted { $0.key < $1.key }.compactMap { address, expected in
            let value = seen.memory(at: address)
            return value == expected ? nil : .memory(address, expected: expected, seen: value)
        }
    }
}
