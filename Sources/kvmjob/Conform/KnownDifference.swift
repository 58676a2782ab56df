// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A way in which an 8088 and the processor that KVM shows are not the same, known by name.
///
/// The vectors come from a chip of 1982; a KVM guest in real mode is on a processor that is compatible with the 80386, and the machine
/// may even interpret its instructions. Where that explains why a vector does not hold, it is counted under the reason's
/// name. A reason looks at the vector and at what was seen, and claims no more than it explains.
struct KnownDifference: Sendable {
    /// As in tables and JSON.
    let name: String
    /// One sentence for people.
    let text: String
    /// Whether this is why a vector does not hold. Asked only of vectors with differences.
    let explains: @Sendable (Comparison) -> Bool

    /// The first reason, in the order of the table, or nil: then it is a failure.
    static func reason(for comparison: Comparison) -> KnownDifference? { all.first { $0.explains(comparison) } }

    /// Every reason. What is about one instruction goes before what is about all.
    static let all: [KnownDifference] = [
        // What this machine cannot do.
        .init("unemulatable", "KVM has no emulation of the instruction, and this machine runs real mode by emulation") {
            if case .unemulatable = $0.seen.outcome { true } else { false }
        },
        .init(
            "int-80", "this machine's KVM takes INT 80h in real mode for a call to itself, and passes it over or hangs"
        ) {
            $0.instruction.opcode == 0xCD && $0.instruction.next == 0x80 && $0.neverLeft
        },

        // Opcodes that have become others.
        .init("pop-cs", "0F is POP CS on the 8088 alone; it now begins the two-byte opcodes") {
            $0.instruction.opcode == 0x0F
        },
        .init("jump-alias", "60 to 6F are 70 to 7F once more on the 8088, and PUSHA to OUTS since the 80186") {
            (0x60...0x6F).contains($0.instruction.opcode)
        },
        .init("return-alias", "C0, C1, C8, C9 are RET and RETF on the 8088; shifts, ENTER and LEAVE since") {
            [0xC0, 0xC1, 0xC8, 0xC9].contains($0.instruction.opcode)
        },
        .init("lock-alias", "F1 is another name of LOCK on the 8088, and a debug exception now") {
            $0.instruction.opcode == 0xF1
        },
        .init("undefined-form", "the manual does not have this form of the instruction, nor do later processors") {
            $0.instruction.isUndefinedForm
        },
        .init("lock-prefix", "since the 80286 LOCK before an instruction that takes no lock is an invalid opcode") {
            $0.instruction.isLocked && $0.seen.exception == 6
        },
        .init("escape", "an 8088 alone passes escape opcodes over; here there is a floating-point unit") {
            (0xD8...0xDF).contains($0.instruction.opcode)
        },

        // Instructions that do it another way.
        .init("push-sp", "the 8088 pushes SP as it is afterwards, processors since the 80286 as it was before") {
            $0.pushesOldStackPointer
        },
        .init("pushed-flags", "the four top bits of FLAGS are always ones on the 8088, and pushed as such") {
            [0x9C, 0xCC, 0xCD, 0xCE].contains($0.instruction.opcode) && $0.differsInTopFlagsOnly
        },
        .init("trap-flag", "TF belongs to the stepper while instructions are counted, and is not shown") {
            [0x9D, 0xCF].contains($0.instruction.opcode) && $0.differsInTrapFlagOnly
        },
        .init("shift-count", "the 8088 shifts as often as CL says, processors since the 80186 by its low five bits") {
            [0xD2, 0xD3].contains($0.instruction.opcode) && $0.vector.initial(.cx) & 0xE0 != 0
        },
        .init("rep-sign", "REP before IMUL or IDIV inverts the result's sign on the 8088, and does nothing since") {
            [0xF6, 0xF7].contains($0.instruction.opcode) && [5, 7].contains($0.instruction.register)
                && $0.instruction.isRepeated
        },
        .init(
            "divide-error", "a divide error saves the next instruction's address on the 8088, its own since the 80286"
        ) {
            $0.bothRaiseDivideError
        },
        .init(
            "decimal-adjust",
            "with AF set, DAA and DAS of the 8088 take 9A to 9F for no carry, and DAS below 6 for none"
        ) {
            $0.adjustsAtLimit
        },
        .init("ascii-adjust", "AAA and AAS adjust AL and AH apart on the 8088, and AX as one since the 80286") {
            $0.carriesBetweenHalves
        },
        .init("adjust-flags", "KVM's emulation of AAM and AAD takes SF and ZF from AX, where the manual says AL") {
            $0.hasFlagsOfWholeAccumulator
        },
        .init("lowest-quotient", "IDIV with the lowest negative quotient is a divide error on the 8088 only") {
            $0.acceptsLowestQuotient
        },

        // The ends of segments, of memory and of what is memory.
        .init("segment-end", "what runs over a segment's end wraps on the 8088, and is #SS or #GP since the 80286") {
            $0.seen.exception == 12 || $0.seen.exception == 13 || ($0.seen.outcome == .tripleFault && $0.hasNoStackLeft)
        },
        .init("ip-wrap", "IP goes on past 0xFFFF, where that of the 8088 wraps") {
            let ip = $0.vector.expected(.ip)
            return $0.differences == [.register(.ip, expected: ip, seen: 0x1_0000 + UInt64(ip))]
        },
        .init("address-wrap", "addresses wrap at 1 MiB on the 8088; here they go on, as with address line 20 open") {
            $0.reachesBeyondMegabyte
        },
        .init("device", "the port is one of kvmjob's own devices; on the vectors' board nothing answers") {
            $0.instruction.claimedPort(dx: $0.vector.initial(.dx)) != nil
        },
    ]

    private init(_ name: String, _ text: String, explains: @escaping @Sendable (Comparison) -> Bool) {
        (self.name, self.text, self.explains) = (name, text, explains)
    }
}

extension InstructionForm {
    /// Members of groups and operands that the manual does not have.
    fileprivate var isUndefinedForm: Bool {
        switch opcode {
        case 0x8F, 0xC6, 0xC7: register != 0
        case 0xFE: register > 1
        case 0xFF: register == 7 || ([3, 5].contains(register) && hasRegisterOperand)
        case 0xD0...0xD3: register == 6
        case 0x8C: register > 3
        case 0x8E: register > 3 || register == 1
        case 0x8D, 0xC4, 0xC5: hasRegisterOperand
        default: false
        }
    }

    /// The port of IN or OUT, if a device of kvmjob's board answers there: COM1, the debug port or the exit port. A word reaches
    /// the port behind too.
    fileprivate func claimedPort(dx: UInt16) -> UInt16? {
        let port: UInt16
        switch opcode {
        case 0xE4...0xE7: port = UInt16(next)
        case 0xEC...0xEF: port = dx
        default: return nil
        }
        let isClaimed: (UInt16) -> Bool = { (0x3F8...0x3FF).contains($0) || $0 == 0xE9 || $0 == 0xF4 }
        return isClaimed(port) || (opcode & 1 == 1 && isClaimed(port &+ 1)) ? port : nil
    }
}

extension Comparison {
    private static func linear(_ segment: UInt16, _ offset: UInt16) -> UInt32 {
        (UInt32(segment) << 4 + UInt32(offset)) % TestVector.addressLimit
    }

    /// Whether the instruction had no effect, but perhaps that IP is behind it.
    fileprivate var neverLeft: Bool {
        if case .exhausted(.wallTime, _, _) = seen.outcome { return true }
        let start = UInt64(vector.initial(.ip))
        return [start, start + UInt64(vector.bytes.count)].contains(seen[.ip])
            && seen[.cs] == UInt64(vector.initial(.cs)) && seen[.sp] == UInt64(vector.initial(.sp))
    }

    fileprivate var pushesOldStackPointer: Bool {
        let pushesSP =
            instruction.opcode == 0x54
            || (instruction.opcode == 0xFF && instruction.register == 6 && instruction.hasRegisterOperand
                && instruction.operand == 4)
        let (ss, sp) = (vector.initial(.ss), vector.initial(.sp))
        let (low, high) = (Self.linear(ss, sp &- 2), Self.linear(ss, sp &- 1))
        let isOld = seen.memory(at: low) == UInt8(sp & 0xFF) && seen.memory(at: high) == UInt8(sp >> 8)
        return pushesSP && isOld && differences.allSatisfy { $0.isMemory(at: [low, high]) }
    }

    /// One byte of memory differs, the upper one of the pushed FLAGS, and of it the upper half.
    fileprivate var differsInTopFlagsOnly: Bool {
        let address = Self.linear(vector.initial(.ss), vector.initial(.sp) &- 1)
        guard differences.count == 1, case .memory(address, let expected, let seen) = differences[0] else {
            return false
        }
        return expected & 0x0F == seen & 0x0F && expected >> 4 == 0xF
    }

    fileprivate var differsInTrapFlagOnly: Bool {
        guard differences.count == 1, case .flags(let expected, let seen) = differences[0] else { return false }
        return expected ^ seen == 0x100 && seen & 0x100 == 0
    }

    /// Whether the vector ends at the divide error's handler, by the interrupt table's first entry.
    private var expectsDivideError: Bool {
        let entry = (0..<4).compactMap { vector.expectedMemory[$0] }.map(UInt16.init)
        guard entry.count == 4 else { return false }
        return vector.expected(.ip) == entry[1] << 8 | entry[0] && vector.expected(.cs) == entry[3] << 8 | entry[2]
    }

    private var isDivision: Bool {
        ([0xF6, 0xF7].contains(instruction.opcode) && instruction.register >= 6)
            || (instruction.opcode == 0xD4 && instruction.next == 0)
    }

    /// The fault was no step, so the handler's first instruction, a NOP, has run too.
    fileprivate var bothRaiseDivideError: Bool {
        isDivision && expectsDivideError && seen[.cs] == UInt64(vector.expected(.cs))
            && seen[.ip] == UInt64(vector.expected(.ip)) + 1 && seen[.sp] == UInt64(vector.expected(.sp))
    }

    fileprivate var acceptsLowestQuotient: Bool {
        guard isDivision, instruction.register == 7, expectsDivideError, case .exhausted(.steps, _, _) = seen.outcome
        else { return false }
        return instruction.opcode == 0xF6 ? seen[.ax] & 0xFF == 0x80 : seen[.ax] == 0x8000
    }

    fileprivate var adjustsAtLimit: Bool {
        let (al, adjusts) = (vector.initial(.ax) & 0xFF, vector.initial(.flags) & 0x10 != 0)
        switch instruction.opcode {
        case 0x27: return adjusts && (0x9A...0x9F).contains(al)
        case 0x2F: return adjusts && ((0x9A...0x9F).contains(al) || al < 6)
        default: return false
        }
    }

    /// AH differs by one and nothing else does, since AL went beyond its ends.
    fileprivate var carriesBetweenHalves: Bool {
        let al = vector.initial(.ax) & 0xFF
        let crosses = (instruction.opcode == 0x37 && al >= 0xFA) || (instruction.opcode == 0x3F && al < 6)
        guard crosses, differences.count == 1, case .register(.ax, let expected, let seen) = differences[0] else {
            return false
        }
        let step: UInt16 = instruction.opcode == 0x37 ? 0x100 : 0xFF00
        return seen == UInt64(expected &+ step)
    }

    fileprivate var hasFlagsOfWholeAccumulator: Bool {
        guard [0xD4, 0xD5].contains(instruction.opcode), differences.count == 1,
            case .flags(let expected, let flags) = differences[0],
            (expected ^ flags) & ~0xC0 == 0
        else { return false }
        let ax = seen[.ax]
        return (flags & 0x40 != 0) == (ax == 0) && (flags & 0x80 != 0) == (ax >> 15 == 1)
    }

    /// An exception's frame would itself run over the end of the stack segment.
    fileprivate var hasNoStackLeft: Bool { [1, 3, 5].contains(vector.initial(.sp)) }

    /// Whether some byte that the vector speaks of is one that a segment reaches only past 1 MiB.
    fileprivate var reachesBeyondMegabyte: Bool {
        let bases = [TestVector.Register.cs, .ds, .es, .ss].flatMap { [vector.initial($0), vector.expected($0)] }
            .map { UInt32($0) << 4 }
        return vector.expectedMemory.keys.contains { address in
            let beyond = address + TestVector.addressLimit
            return bases.contains { beyond >= $0 && beyond - $0 <= 0xFFFF }
        }
    }
}

extension Difference {
    fileprivate func isMemory(at addresses: [UInt32]) -> Bool {
        if case .memory(let address, _, _) = self { addresses.contains(address) } else { false }
    }
}
