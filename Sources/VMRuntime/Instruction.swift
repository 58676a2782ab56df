// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The first sixteen bytes at an instruction's address. The longest instruction has fifteen.
struct InstructionBytes: Equatable {
    static let count = 16
    static let allOnes = InstructionBytes(low: .max, high: .max)

    private var low: UInt64
    private var high: UInt64

    init(low: UInt64, high: UInt64) { (self.low, self.high) = (low, high) }

    subscript(index: Int) -> UInt8 {
        get { UInt8(truncatingIfNeeded: (index < 8 ? low : high) >> (UInt64(index & 7) * 8)) }
        set {
            let shift = UInt64(index & 7) * 8
            let mask = ~(UInt64(0xFF) << shift)
            let byte = UInt64(newValue) << shift
            if index < 8 { low = low & mask | byte } else { high = high & mask | byte }
        }
    }

    /// The first bytes as an array.
    func prefix(_ count: Int) -> [UInt8] { (0..<min(count, Self.count)).map { self[$0] } }
}

/// As much of an instruction as a step meter has to know before it runs.
struct Instruction: Equatable {
    /// Bytes up to and without the opcode.
    private(set) var prefixBytes = 0
    private(set) var opcode: UInt8 = 0
    private(set) var modRM: UInt8 = 0
    private var hasRepeat = false
    private var hasLock = false
    private var sib: UInt8 = 0
    private var hasAddressSize = false

    init(_ bytes: InstructionBytes, is64Bit: Bool) {
        while prefixBytes < InstructionBytes.count - 2 {
            let byte = bytes[prefixBytes]
            switch byte {
            case 0xF2, 0xF3: hasRepeat = true
            case 0xF0: hasLock = true
            case 0x66: stackOperandBytes = 2
            case 0x67: hasAddressSize = true
            case 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65: break
            case 0x40...0x4F where is64Bit: stackOperandBytes = byte & 8 != 0 ? 8 : stackOperandBytes
            default:
                opcode = byte
                modRM = bytes[prefixBytes + 1]
                sib = prefixBytes + 2 < InstructionBytes.count ? bytes[prefixBytes + 2] : 0
                return
            }
            prefixBytes += 1
        }
        opcode = bytes[prefixBytes]
    }

    /// HLT; with a lock prefix it is an invalid opcode.
    var isHalt: Bool { opcode == 0xF4 && !hasLock }
    /// HLT's length with its prefixes.
    var haltBytes: UInt64 { UInt64(prefixBytes) + 1 }
    /// INS, OUTS, MOVS, CMPS, STOS, LODS or SCAS with a repeat prefix: one step, however often it is entered.
    var isRepeatedString: Bool {
        guard hasRepeat else { return false }
        return switch opcode {
        case 0x6C...0x6F, 0xA4...0xA7, 0xAA...0xAF: true
        default: false
        }
    }
    /// An access under a lock, which XCHG with memory is by itself. KVM's emulator gives it up, and the run with it, where another vCPU
    /// writes there meanwhile: RIP stays, and nothing retires.
    var isLocked: Bool { hasLock || (opcode & 0xFE == 0x86 && modRM >> 6 != 3) }
    /// IRET in any width.
    var isInterruptReturn: Bool { opcode == 0xCF }
    /// MOV SS or POP SS, which hold back the step trap until the next instruction where hardware steps.
    var loadsStackSegment: Bool { opcode == 0x17 || (opcode == 0x8E && modRM >> 3 & 7 == 2) }
    /// The length of a MOV SS or POP SS in code of this size, 16, 32 or 64: prefixes, opcode, and for MOV SS ModR/M and what
    /// this asks for.
    func stackSegmentLoadBytes(bits: Int) -> UInt64 {
        guard opcode == 0x8E else { return UInt64(prefixBytes) + 1 }
        let has16BitAddress = bits == 16 ? !hasAddressSize : bits == 32 && hasAddressSize
        return UInt64(prefixBytes) + 2 + (has16BitAddress ? addressBytes16 : addressBytes32)
    }

    /// Bytes behind ModR/M: a displacement.
    private var addressBytes16: UInt64 {
        switch modRM >> 6 {
        case 0: modRM & 7 == 6 ? 2 : 0
        case 1: 1
        case 2: 2
        default: 0
        }
    }

    /// Bytes behind ModR/M: a SIB byte and a displacement.
    private var addressBytes32: UInt64 {
        let (mode, base) = (modRM >> 6, modRM & 7)
        let hasSIB = mode != 3 && base == 4
        let displacement: UInt64 =
            switch mode {
            case 0: base == 5 || (hasSIB && sib & 7 == 5) ? 4 : 0
            case 1: 1
            case 2: 4
            default: 0
            }
        return (hasSIB ? 1 : 0) + displacement
    }

    /// Interrupt 0x80 in real mode, VMCALL or VMMCALL: a software backend tries them for ever without a step.
    var mayNeverRetire: Bool {
        (opcode == 0xCD && modRM == 0x80) || (opcode == 0x0F && modRM == 0x01 && (sib == 0xC1 || sib == 0xD9))
    }
    /// A far return, which pops CS from above RIP.
    var isFarReturn: Bool { opcode == 0xCA || opcode == 0xCB }
    /// SYSRET or SYSEXIT, which go to ring 3 wherever they are.
    var isSystemReturn: Bool { opcode == 0x0F && (modRM == 0x07 || modRM == 0x35) }
    /// Bytes of an operand that the stack holds in 64-bit code: 8 with REX.W, 2 with an operand-size prefix, else 4.
    private(set) var stackOperandBytes: UInt64 = 4
    /// SYSCALL.
    var isSystemCall: Bool { opcode == 0x0F && modRM == 0x05 }
    /// ICEBP, which raises a debug exception of its own.
    var isDebugTrap: Bool { opcode == 0xF1 }
    /// PUSHF in any width.
    var pushesFlags: Bool { opcode == 0x9C }
    /// POPF in any width.
    var isFlagsPop: Bool { opcode == 0x9D }
    /// POPF or IRET: the guest sets its own trap flag.
    var popsFlags: Bool { opcode == 0x9D || opcode == 0xCF }
}
