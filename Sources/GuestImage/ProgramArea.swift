// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CGuestCode
public import JobModel

/// The pages that are there while a Linux program runs and are not the program's: what the processor itself needs, descriptor tables
/// and the stubs that catch exceptions; where SYSCALL leads; and where C libraries look for clocks.
///
/// They are at the end of the program's addresses, where no mapping can be, and in guest physical memory below all of the program's
/// frames. Each address is ``linear`` and this offset:
///
/// | offset | what | the program may |
/// |---|---|---|
/// | 0x0000 | GDT | nothing |
/// | 0x1000 | IDT, 32 gates | nothing |
/// | 0x2000 | TSS and its IO permission bitmap, three pages | nothing |
/// | 0x5000 | exception stubs, 16 bytes each | nothing |
/// | 0x6000 | ring-0 stack, one page | nothing |
/// | 0x7000 | what LSTAR and CSTAR lead to: `call_page.S` | read and execute |
/// | 0x8000 | what that code keeps | read and write |
/// | 0x9000 | input for it to give out, 16 pages | read and write |
/// | 0x19000 | a shared object with clocks: `vdso.S` | read and execute |
/// | 0x1A000 | what those are made from | read |
///
/// Of the ports a program can use one, ``callPort``: what it gets by writing to it is a system call.
public enum ProgramArea {
    /// The address of the first page.
    public static let linear: UInt64 = 0x7FFF_FFF0_0000
    /// The guest physical address of the first page.
    public static let physical: UInt64 = 0x2000
    /// The pages' length.
    public static let bytes: UInt64 = 0x1_B000

    /// Where the exception stubs begin; the stub of vector n is ``SystemArea/stubBytes`` × n behind it.
    public static let stubs = linear + 0x5000
    /// The top of the ring-0 stack.
    public static let ring0StackTop = linear + 0x7000
    /// Where SYSCALL leads if it enters ring 0: each call leaves the guest.
    public static let callEntry = linear + 0x7000
    /// Where SYSCALL leads if it stays at ring 3: calls that need no host are answered there. At ring 0 that could not be: the
    /// buffers are the program's.
    public static let fastEntry = callEntry + 0x20
    /// A SYSRETQ, for a processor on which SYSCALL has entered ring 0.
    public static let callReturn = callEntry + 2
    /// Where SYSCALL leads from 32-bit code, of which there is none: an undefined instruction.
    public static let compatibilityEntry = callEntry + 16
    /// The port that a system call writes to, at any privilege.
    public static let callPort: UInt16 = 0xE1
    /// The port that an exception's stub writes to, at ring 0.
    public static let trapPort = SystemArea.trapPort

    /// What ``fastEntry`` keeps: where it has saved registers, at offsets of eight bytes from here.
    public static let savedRegisters = linear + 0x8000
    /// How much of the input window has been given out: two words, where the next byte is and how many follow.
    public static let inputPosition = linear + 0x8020
    /// How many calls ``fastEntry`` has answered: a word.
    public static let fastCalls = linear + 0x8030
    /// Input of the program's that ``fastEntry`` gives out.
    public static let inputWindow = linear + 0x9000..<linear + 0x1_9000
    /// The shared object: what `AT_SYSINFO_EHDR` points to.
    public static let sharedObject = linear + 0x1_9000
    /// What its clocks are made from: ``GuestClocks``.
    public static let clocks = linear + 0x1_A000

    /// The pages, by what may be done with them. These are supervisor's only.
    public static let data = [linear..<stubs, stubs + 0x1000..<ring0StackTop]
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public static let code = [stubs..<stubs + 0x1000]
    /// The pages that the program may execute, and read.
    public static let userCode = [callEntry..<callEntry + 0x1000, sharedObject..<clocks]
    /// The pages that it may read.
    public static let userData = [clocks..<clocks + 0x1000]
    /// The pages that it may read and write. What it does there can harm nobody else.
    public static let userScratch = [savedRegisters..<sharedObject]

    /// Whether this address is of a page that the program may execute.
    public static func isCode(_ address: UInt64) -> Bool { userCode.contains { $0.contains(address) } }

    /// Whether it is in the page that SYSCALL leads to.
    public static func isCallPage(_ address: UInt64) -> Bool { userCode[0].contains(address) }

    /// The guest physical address behind one of these pages' addresses.
    public static func physicalAddress(of address: UInt64) -> UInt64 { address &- linear &+ physical }

    /// What the pages hold, at guest physical addresses.
    public static var pieces: [GuestLayout.Piece] {
        [
            .init(address: physical, bytes: SystemArea.littleEndian(descriptors)),
            .init(address: physical + 0x1000, bytes: SystemArea.interruptTable(stubs: stubs).bytes),
            .init(address: physical + 0x2000, bytes: taskState),
            .init(address: physical + 0x5000, bytes: (0..<SystemArea.vectors).flatMap(stub)),
            .init(
                address: physicalAddress(of: callEntry), bytes: (0..<guest_call_page_size()).map(guest_call_page_byte)),
            .init(
                address: physicalAddress(of: sharedObject), bytes: (0..<guest_vdso_size()).map(guest_vdso_byte)),
        ]
    }

    /// As in the other modes, without 32-bit code.
    private static var descriptors: [UInt64] {
        var descriptors = SystemArea.descriptors(for: .linux, task: linear + 0x2000)
        descriptors[3] = 0
        return descriptors
    }

    /// RSP0 for exceptions, and an IO bitmap of ones but for ``callPort``.
    private static var taskState: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(SystemArea.tssLimit) + 1)
        bytes.replaceSubrange(4..<12, with: SystemArea.littleEndian([ring0StackTop]))
        bytes[102] = UInt8(SystemArea.tssBytes)
        for index in Int(SystemArea.tssBytes)..<bytes.count { bytes[index] = 0xFF }
        bytes[Int(SystemArea.tssBytes) + Int(callPort) / 8] &= ~(1 << UInt8(callPort % 8))
        return bytes
    }

    /// Vectors whose frame begins with an error code.
    public static let withErrorCode: Set<UInt8> = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30]

    /// `out trapPort, al`, then back to the program, where nothing is changed: an error code goes first.
    private static func stub(_ vector: Int) -> [UInt8] {
        let pop: [UInt8] = withErrorCode.contains(UInt8(vector)) ? [0x48, 0x83, 0xC4, 8] : []
        let stub = [0xE6, UInt8(trapPort)] + pop + [0x48, 0xCF]
        return stub + [UInt8](repeating: 0xCC, count: Int(SystemArea.stubBytes) - stub.count)
    }

    /// The segments, descriptor tables and control registers that a program starts with.
    ///
    /// - Parameter root: the guest physical address of the highest page table.
    public static func systemRegisters(root: UInt64) -> SystemRegisters {
        var system = SystemArea.systemRegisters(for: .linux)
        system.gdt.base = linear
        system.idt = DescriptorTable(base: linear + 0x1000, limit: UInt16(SystemArea.vectors * 16 - 1))
        system.tr.base = linear + 0x2000
        system.cr3 = root
        system.efer |= ControlRegister.systemCalls
        return system
    }

    /// What STAR holds: ring 0's selectors for SYSCALL, ring 3's for SYSRET.
    public static let star =
        UInt64(SystemArea.ring0Code) << 32 | UInt64(SystemArea.ring3Data - 8) << 48
    /// The flags that SYSCALL clears: TF, IF, DF, IOPL, NT and AC.
    public static let maskedFlags: UInt64 = 0x4_7700
}

/// What the clocks of ``ProgramArea/sharedObject`` are made from.
public struct GuestClocks: Sendable, Hashable {
    /// The time-stamp counter, as the guest reads it, when the monotonic clock showed ``monotonic``.
    public var ticks: UInt64
    /// Nanoseconds of a tick, times 2^32. With 0 the program has to ask the worker.
    public var nanosecondsPerTick: UInt64
    /// Nanoseconds.
    public var monotonic: UInt64
    /// Nanoseconds from the monotonic clock to the one that shows the date.
    public var realtimeOffset: UInt64

    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public init(ticks: UInt64, nanosecondsPerTick: UInt64, monotonic: UInt64, realtimeOffset: UInt64) {
        (self.ticks, self.nanosecondsPerTick) = (ticks, nanosecondsPerTick)
        (self.monotonic, self.realtimeOffset) = (monotonic, realtimeOffset)
    }

    /// What lies at ``ProgramArea/clocks``.
    public var words: [UInt64] { [ticks, nanosecondsPerTick, monotonic, realtimeOffset] }

    /// What the monotonic clock shows when the counter is there, as the shared object computes it.
    public func monotonic(at ticks: UInt64) -> UInt64 {
        let passed = ticks >= self.ticks ? ticks - self.ticks : 0
        let product = passed.multipliedFullWidth(by: nanosecondsPerTick)
        return monotonic &+ (product.high << 32 | product.low >> 32)
    }
}
