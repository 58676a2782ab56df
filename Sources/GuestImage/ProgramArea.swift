// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// The pages that the processor itself needs while a Linux program runs: descriptor tables, the stubs that catch exceptions, and
/// the one that SYSCALL leads to.
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
/// | 0x7000 | what LSTAR and CSTAR hold | read and execute |
///
/// Of the ports a program can use one, ``callPort``: what it gets by writing to it is a system call.
public enum ProgramArea {
    /// The address of the first page.
    public static let linear: UInt64 = 0x7FFF_FFF0_0000
    /// The guest physical address of the first page.
    public static let physical: UInt64 = 0x2000
    /// The pages' length.
    public static let bytes: UInt64 = 0x8000

    /// Where the exception stubs begin; the stub of vector n is ``SystemArea/stubBytes`` × n behind it.
    public static let stubs = linear + 0x5000
    /// The top of the ring-0 stack.
    public static let ring0StackTop = linear + 0x7000
    /// Where SYSCALL leads.
    public static let callEntry = linear + 0x7000
    /// A SYSRETQ, for a processor on which SYSCALL has entered ring 0.
    public static let callReturn = callEntry + 2
    /// Where SYSCALL leads from 32-bit code, of which there is none: an undefined instruction.
    public static let compatibilityEntry = callEntry + 16
    /// The port that a system call writes to, at any privilege.
    public static let callPort: UInt16 = 0xE1
    /// The port that an exception's stub writes to, at ring 0.
    public static let trapPort = SystemArea.trapPort

    /// The pages, by what may be done with them at ring 0. None of them is the program's.
    public static let data = [linear..<stubs, stubs + 0x1000..<ring0StackTop]
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public static let code = [stubs..<stubs + 0x1000]
    /// The pages that the program may read and execute, and nobody may write.
    public static let userCode = [callEntry..<linear + bytes]

    /// Whether this address is of a page that the program may execute.
    public static func isCallPage(_ address: UInt64) -> Bool { userCode[0].contains(address) }

    /// The guest physical address behind one of these pages' addresses.
    public static func physicalAddress(of address: UInt64) -> UInt64 { address &- linear &+ physical }

    /// What the pages hold, at guest physical addresses.
    public static var pieces: [GuestLayout.Piece] {
        let call: [UInt8] = [0xE6, UInt8(callPort), 0x48, 0x0F, 0x07]
        let undefined: [UInt8] = [0x0F, 0x0B]
        let padding = [UInt8](repeating: 0xCC, count: Int(compatibilityEntry - callEntry) - call.count)
        return [
            .init(address: physical, bytes: SystemArea.littleEndian(descriptors)),
            .init(address: physical + 0x1000, bytes: SystemArea.interruptTable(stubs: stubs).bytes),
            .init(address: physical + 0x2000, bytes: taskState),
            .init(address: physical + 0x5000, bytes: (0..<SystemArea.vectors).flatMap(stub)),
            .init(address: physical + 0x7000, bytes: call + padding + undefined),
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
