// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What a handler finds on its stack: the kernel's `struct rt_sigframe` of x86-64.
///
///     0    where the handler returns to
///     8    struct ucontext: flags, link, the alternate stack (stack_t)
///     48   struct sigcontext: registers, the exception, the address of the extended state
///     304  the signals that were blocked
///     312  siginfo_t
struct SignalFrame: Sendable {
    /// Its size.
    static let bytes = 440
    /// What lies below the stack pointer and belongs to the function that was interrupted: the ABI's red zone.
    static let redZone: UInt64 = 128

    /// Where its parts begin.
    enum Offset {
        static let context: UInt64 = 8
        static let stack = 24
        static let registers = 48
        static let mask = 304
        static let information: UInt64 = 312
    }

    /// `UC_FP_XSTATE`, `UC_SIGCONTEXT_SS` and `UC_STRICT_RESTORE_SS`, as the kernel says of a 64-bit program.
    static let contextFlags: UInt64 = 7
    /// CS and SS as the kernel has them for programs. They are shown, and never taken from a frame.
    static let selectors: UInt64 = 0x33 | 0x2B << 48

    var returnAddress: UInt64
    var registers: Registers
    var trap: Trap
    var mask: SignalSet
    var stack: AlternateStack
    var extendedState: UInt64
    var information: SignalInfo

    /// The exception that the thread had last, as `struct sigcontext` tells of it.
    struct Trap: Sendable, Hashable {
        var vector: UInt64 = 0
        var errorCode: UInt64 = 0
        /// CR2
        var address: UInt64 = 0
    }

    var record: [UInt8] {
        var record = GuestRecord()
        record.append(returnAddress)
        record.append(Self.contextFlags)
        record.append(0 as UInt64)
        record.append(stack.record(flags: stack.flags))
        for name in Self.order { record.append(registers[keyPath: name]) }
        for word in [Self.selectors, trap.errorCode, trap.vector, mask.bits, trap.address, extendedState] {
            record.append(word)
        }
        record.pad(to: Offset.mask)
        record.append(mask.bits)
        record.append(information.record)
        return record.bytes
    }

    /// In `struct sigcontext`.
    static var order: [WritableKeyPath<Registers, UInt64>] {
        [
            \.r8, \.r9, \.r10, \.r11, \.r12, \.r13, \.r14, \.r15, \.rdi, \.rsi, \.rbp, \.rbx, \.rdx, \.rax, \.rcx,
            \.rsp,
            \.rip, \.rflags,
        ]
    }
}

/// What `rt_sigreturn` takes from a frame, none of which is to be trusted.
struct ReturnFrame: Sendable {
    var registers: Registers
    var mask: SignalSet
    var stack: AlternateStack
    /// 0 for that of a thread that begins.
    var extendedState: UInt64

    /// - Parameters:
    ///   - record: a frame from ``SignalFrame/Offset/context`` on.
    ///   - flags: RFLAGS now.
    init(_ record: [UInt8], flags: UInt64) {
        let word: (Int) -> UInt64 = { GuestRecord.word(record[...], at: $0 - Int(SignalFrame.Offset.context)) }
        registers = Registers()
        for (index, name) in SignalFrame.order.enumerated() {
            registers[keyPath: name] = word(SignalFrame.Offset.registers + index * 8)
        }
        registers.rflags = flags & ~ProgramFlags.own | registers.rflags & ProgramFlags.own
        extendedState = word(SignalFrame.Offset.registers + 23 * 8)
        mask = SignalSet(bits: word(SignalFrame.Offset.mask)).subtracting(.unblockable)
        let start = SignalFrame.Offset.stack - Int(SignalFrame.Offset.context)
        stack = AlternateStack(record: Array(record[start..<start + AlternateStack.bytes]))
    }

    /// How many bytes it takes.
    static let bytes = Int(SignalFrame.Offset.information - SignalFrame.Offset.context)
}

/// RFLAGS as far as they are a program's.
enum ProgramFlags {
    /// What `rt_sigreturn` takes from a frame: CF, PF, AF, ZF, SF, TF, DF, OF, RF and AC (`FIX_EFLAGS`).
    static let own: UInt64 = 0x5_0DD5
    /// What a handler begins without: TF, DF and RF.
    static let clearedForHandlers: UInt64 = 0x1_0500
    /// What every program has: the bit that is always one, and IF.
    static let always: UInt64 = 0x202
}
