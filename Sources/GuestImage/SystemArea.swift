// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// The pages that hold what the processor itself reads in `protected32`, `long64` and `user64`: descriptor tables, page
/// tables, and for `user64` the stubs that catch exceptions. Real mode has none.
///
/// | address | what | modes |
/// |---|---|---|
/// | 0x90000 | GDT | all three |
/// | 0x91000 | IDT, 32 gates | `user64` |
/// | 0x92000 | TSS and its IO permission bitmap, three pages | all three |
/// | 0x95000 | exception stubs, 16 bytes each | `user64` |
/// | 0x96000 | ring-0 stack, one page | `user64` |
/// | 0x97000 | page tables: PML4, PDPT, four PDs, one PT | `long64`, `user64` |
///
/// In `user64` these pages are out of the program's reach, and so is page 0, to make a null pointer fault. The rest of the first
/// 4 GiB is mapped at its own addresses, so that addresses outside guest memory can be reached too.
///
/// A `protected32` or `long64` job whose GDTR, TR and, in `long64`, CR3 all lead elsewhere brings its own: then nothing is laid here,
/// and the addresses are free.
public enum SystemArea {
    /// The first byte.
    public static let start: UInt64 = 0x9_0000
    /// The first byte behind it.
    public static let end: UInt64 = 0xA_0000

    static let gdt: UInt64 = 0x9_0000
    static let idt: UInt64 = 0x9_1000
    static let tss: UInt64 = 0x9_2000
    static let pml4: UInt64 = 0x9_7000
    static let pageDirectories: UInt64 = 0x9_9000
    static let firstPageTable: UInt64 = 0x9_D000

    /// Where the exception stubs of `user64` begin; the stub of vector n is ``stubBytes`` × n behind it.
    public static let stubs: UInt64 = 0x9_5000
    /// Bytes of one stub.
    public static let stubBytes: UInt64 = 16
    /// The exceptions that have a stub: vectors 0 to 31.
    public static let vectors = 32
    /// The top of the ring-0 stack, where the processor pushes an exception's frame.
    public static let ring0StackTop: UInt64 = 0x9_7000
    /// The port that a stub writes to. It means an exception only at ring 0, where in `user64` nothing but the stubs runs.
    public static let trapPort: UInt16 = 0xE0

    /// Selectors.
    static let ring0Code: UInt16 = 0x08
    static let ring0Data: UInt16 = 0x10
    static let ring3Data: UInt16 = 0x23
    static let ring3Code: UInt16 = 0x2B
    static let task: UInt16 = 0x30

    /// A 64-bit TSS, then one bit for each port and a closing byte of ones.
    static let tssBytes: UInt64 = 104
    static let ioBitmapBytes: UInt64 = 8192
    static let tssLimit = UInt32(tssBytes + ioBitmapBytes)

    /// Whether anything is laid here for a vCPU that starts like this.
    static func isUsed(by system: SystemRegisters, mode: GuestMode) -> Bool {
        switch mode {
        case .real16, .linux: false
        case .user64: true
        case .protected32, .long64:
            leadsHere(system.gdt.base, UInt64(system.gdt.limit)) || leadsHere(system.tr.base, UInt64(system.tr.limit))
                || (mode == .long64 && leadsHere(system.cr3 & ~0xFFF, 0xFFF))
        }
    }

    /// - Parameter limit: the offset of the last byte.
    private static func leadsHere(_ base: UInt64, _ limit: UInt64) -> Bool {
        let last = base.addingReportingOverflow(limit)
        return base < end && (last.overflow ? .max : last.partialValue) >= start
    }

    /// What is laid here for a vCPU that starts like this.
    static func pieces(for mode: GuestMode, startingWith system: SystemRegisters) -> [GuestLayout.Piece] {
        guard isUsed(by: system, mode: mode) else { return [] }
        return pieces(for: mode)
    }

    private static func pieces(for mode: GuestMode) -> [GuestLayout.Piece] {
        switch mode {
        case .real16: []
        case .protected32: [descriptorTable(for: mode), taskState()]
        case .long64: [descriptorTable(for: mode), taskState()] + pageTables(for: mode)
        case .user64:
            [descriptorTable(for: mode), taskState(), interruptTable(), exceptionStubs()] + pageTables(for: mode)
        // Its tables are at addresses of their own, and belong to the process.
        case .linux: []
        }
    }

    // MARK: Tables

    private static func descriptorTable(for mode: GuestMode) -> GuestLayout.Piece {
        .init(address: gdt, bytes: littleEndian(descriptors(for: mode, task: tss)))
    }

    /// - Parameter task: where the TSS is.
    static func descriptors(for mode: GuestMode, task: UInt64) -> [UInt64] {
        let ring0: UInt64 = mode == .protected32 ? 0x00CF_9B00_0000_FFFF : 0x00AF_9B00_0000_FFFF
        return [
            0,
            ring0,  // 0x08 ring-0 code
            0x00CF_9300_0000_FFFF,  // 0x10 ring-0 data
            0x00CF_FB00_0000_FFFF,  // 0x1B ring-3 code, 32 bits: where SYSRET wants it
            0x00CF_F300_0000_FFFF,  // 0x23 ring-3 data
            0x00AF_FB00_0000_FFFF,  // 0x2B ring-3 code, 64 bits
            taskDescriptor(task), task >> 32,  // 0x30 TSS, two entries in long mode
        ]
    }

    /// A busy TSS (type 11): what TR holds is always marked busy.
    private static func taskDescriptor(_ tss: UInt64) -> UInt64 {
        let limit = UInt64(tssLimit)
        return limit & 0xFFFF | (tss & 0xFF_FFFF) << 16 | 0x8B << 40 | (limit >> 16 & 15) << 48
            | (tss >> 24 & 0xFF) << 56
    }

    /// RSP0 for exceptions, and an IO bitmap of zeros: ring 3 may use every port. On a software backend IOPL does not give
    /// that right, the bitmap does.
    private static func taskState() -> GuestLayout.Piece {
        var bytes = [UInt8](repeating: 0, count: Int(tssLimit) + 1)
        bytes.replaceSubrange(4..<12, with: littleEndian([ring0StackTop]))
        bytes[102] = UInt8(tssBytes)
        bytes[Int(tssLimit)] = 0xFF
        return .init(address: tss, bytes: bytes)
    }

    /// Interrupt gates to the stubs. Only INT3 and INTO may be raised by ring 3 itself; INT n of the others is a #GP.
    static func interruptTable(stubs: UInt64 = stubs) -> GuestLayout.Piece {
        let gates = (0..<vectors).flatMap { vector -> [UInt64] in
            let target = stubs + UInt64(vector) * stubBytes
            let rights: UInt64 = vector == 3 || vector == 4 ? 0xEE : 0x8E
            return [
                target & 0xFFFF | UInt64(ring0Code) << 16 | rights << 40 | (target >> 16 & 0xFFFF) << 48, target >> 32,
            ]
        }
        return .init(address: idt, bytes: littleEndian(gates))
    }

    /// `out trapPort, al`, then IRETQ, by which a step meter that works through the debug exception (vector 1) goes on.
    private static func exceptionStubs() -> GuestLayout.Piece {
        let stub: [UInt8] = [0xE6, UInt8(trapPort), 0x48, 0xCF]
        let padded = stub + [UInt8](repeating: 0xCC, count: Int(stubBytes) - stub.count)
        return .init(address: stubs, bytes: (0..<vectors).flatMap { _ in padded })
    }

    // MARK: Pages

    private enum Page {
        static let present: UInt64 = 1
        static let writable: UInt64 = 2
        static let user: UInt64 = 4
        /// Accessed and dirty from the start, so that the processor never writes to the tables.
        static let touched: UInt64 = 0x60
        static let large: UInt64 = 0x80
        static let table = present | writable | user
    }

    /// Bytes of ``identityTables(at:firstEntry:)``: a PML4, a PDPT, four PDs.
    static let identityTablesBytes: UInt64 = 0x6000

    /// The tables that map the first 4 GiB at their own addresses, in pages of 2 MiB.
    ///
    /// - Parameters:
    ///   - root: where they are, at whole pages: the value for CR3.
    ///   - firstEntry: what is said of the first 2 MiB instead.
    static func identityTables(at root: UInt64, firstEntry: UInt64? = nil) -> [UInt8] {
        let directories = root + 0x2000
        let pointers = (0..<4).map { (directories + $0 * 0x1000) | Page.table }
        var directory = (0..<2048).map { entry(leadingTo: UInt64($0) << 21) }
        if let firstEntry { directory[0] = firstEntry }
        return page([(root + 0x1000) | Page.table]) + page(pointers) + littleEndian(directory)
    }

    /// Entries of a table, and those that are not there.
    private static func page(_ entries: [UInt64]) -> [UInt8] {
        littleEndian(entries + [UInt64](repeating: 0, count: 512 - entries.count))
    }

    /// In `user64` the first 2 MiB are in pages of 4 KiB, to keep the system area out of reach.
    private static func pageTables(for mode: GuestMode) -> [GuestLayout.Piece] {
        guard mode == .user64 else { return [.init(address: pml4, bytes: identityTables(at: pml4))] }
        return [
            .init(address: firstPageTable, bytes: littleEndian((0..<512).map(firstPages))),
            .init(address: pml4, bytes: identityTables(at: pml4, firstEntry: firstPageTable | Page.table)),
        ]
    }

    /// Page 0 is not there, so that a null pointer faults.
    private static func firstPages(_ number: UInt64) -> UInt64 {
        guard number > 0 else { return 0 }
        let address = number << 12
        let entry = address | Page.present | Page.writable | Page.touched
        return (start..<end).contains(address) ? entry : entry | Page.user
    }

    /// Where the tables of `long64` and `user64` say what is at 2 MiB.
    public static let entryOfSecondPage = pageDirectories + 8

    /// An entry for 2 MiB of memory that begin at this address.
    public static func entry(leadingTo address: UInt64) -> UInt64 { address | Page.table | Page.touched | Page.large }

    static func littleEndian(_ words: [UInt64]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(words.count * 8)
        for word in words {
            for shift: UInt64 in stride(from: 0, to: 64, by: 8) {
                bytes.append(UInt8(truncatingIfNeeded: word >> shift))
            }
        }
        return bytes
    }

    // MARK: The vCPU

    /// The rights of the GDT's 32-bit ring-3 code segment.
    public static let userCode32 = SegmentAttributes(type: 11, s: true, dpl: 3, db: true, g: true)

    /// CS and SS as a `user64` program starts with them.
    public static var userSegments: (code: Segment, data: Segment) {
        let system = systemRegisters(for: .user64)
        return (system.cs, system.ss)
    }

    /// The segments, descriptor tables and control registers that a mode starts with.
    public static func systemRegisters(for mode: GuestMode) -> SystemRegisters {
        var system = SystemRegisters()
        system.ldt = Segment(base: 0, limit: 0xFFFF, selector: 0, attributes: .init(type: 2, s: false))
        switch mode {
        case .real16: realMode(&system)
        case .protected32: protectedMode(&system)
        case .long64: longMode(&system, ring: 0)
        case .user64, .linux: longMode(&system, ring: 3)
        }
        return system
    }

    private static func realMode(_ system: inout SystemRegisters) {
        let data = Segment(base: 0, limit: 0xFFFF, selector: 0, attributes: .init(type: 3, s: true))
        system.cs = Segment(base: 0, limit: 0xFFFF, selector: 0, attributes: .init(type: 11, s: true))
        (system.ds, system.es, system.fs, system.gs, system.ss) = (data, data, data, data, data)
        system.tr = Segment(base: 0, limit: 0xFFFF, selector: 0, attributes: .init(type: 11, s: false))
        system.gdt = DescriptorTable(base: 0, limit: 0xFFFF)
        system.idt = DescriptorTable(base: 0, limit: 0x3FF)
        system.cr0 = ControlRegister.extensionType
    }

    private static func protectedMode(_ system: inout SystemRegisters) {
        let code = SegmentAttributes(type: 11, s: true, db: true, g: true)
        flat(&system, code: code, codeSelector: ring0Code, dataSelector: ring0Data, ring: 0)
        system.cr0 = ControlRegister.protection | ControlRegister.extensionType | ControlRegister.numericError
    }

    private static func longMode(_ system: inout SystemRegisters, ring: UInt8) {
        let code = SegmentAttributes(type: 11, s: true, dpl: ring, l: true, g: true)
        flat(
            &system, code: code, codeSelector: ring == 0 ? ring0Code : ring3Code,
            dataSelector: ring == 0 ? ring0Data : ring3Data, ring: ring)
        if ring == 3 { system.idt = DescriptorTable(base: idt, limit: UInt16(vectors * 16 - 1)) }
        system.cr0 =
            ControlRegister.protection | ControlRegister.monitor | ControlRegister.extensionType
            | ControlRegister.numericError | ControlRegister.writeProtect | ControlRegister.paging
        system.cr3 = pml4
        system.cr4 =
            ControlRegister.physicalAddressExtension | ControlRegister.fxsave | ControlRegister.simdExceptions
        system.efer = ControlRegister.longModeEnable | ControlRegister.longModeActive | ControlRegister.noExecute
    }

    private static func flat(
        _ system: inout SystemRegisters, code: SegmentAttributes, codeSelector: UInt16, dataSelector: UInt16,
        ring: UInt8
    ) {
        system.cs = Segment(base: 0, limit: .max, selector: codeSelector, attributes: code)
        let data = Segment(
            base: 0, limit: .max, selector: dataSelector,
            attributes: SegmentAttributes(type: 3, s: true, dpl: ring, db: true, g: true))
        (system.ds, system.es, system.fs, system.gs, system.ss) = (data, data, data, data, data)
        system.tr = Segment(base: tss, limit: tssLimit, selector: task, attributes: .init(type: 11, s: false))
        system.ldt = Segment(base: 0, limit: 0, selector: 0, attributes: .unusable)
        system.gdt = DescriptorTable(base: gdt, limit: 8 * 8 - 1)
    }
}

/// Bits of CR0, CR4 and EFER, by the processor manuals' names.
public enum ControlRegister {
    /// CR0.PE
    public static let protection: UInt64 = 1
    /// CR0.MP
    public static let monitor: UInt64 = 1 << 1
    /// CR0.ET
    public static let extensionType: UInt64 = 1 << 4
    /// CR0.NE
    public static let numericError: UInt64 = 1 << 5
    /// CR0.WP
    public static let writeProtect: UInt64 = 1 << 16
    /// CR0.NW
    public static let notWriteThrough: UInt64 = 1 << 29
    /// CR0.CD
    public static let cacheDisable: UInt64 = 1 << 30
    /// CR0.PG
    public static let paging: UInt64 = 1 << 31
    /// CR4.TSD
    public static let timeStampDisable: UInt64 = 1 << 2
    /// CR4.PAE
    public static let physicalAddressExtension: UInt64 = 1 << 5
    /// CR4.OSFXSR
    public static let fxsave: UInt64 = 1 << 9
    /// CR4.OSXMMEXCPT
    public static let simdExceptions: UInt64 = 1 << 10
    /// CR4.LA57
    public static let fiveLevelPaging: UInt64 = 1 << 12
    /// CR4.PCIDE
    public static let processContexts: UInt64 = 1 << 17
    /// EFER.SCE
    public static let systemCalls: UInt64 = 1
    /// EFER.LME
    public static let longModeEnable: UInt64 = 1 << 8
    /// EFER.LMA
    public static let longModeActive: UInt64 = 1 << 10
    /// EFER.NXE
    public static let noExecute: UInt64 = 1 << 11
}
