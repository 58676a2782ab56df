// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// What an image becomes in guest memory, and how the vCPU starts: everything that a machine needs to know of an image.
///
/// Made from bytes alone; whether KVM here can run the mode is another question.
public struct GuestLayout: Sendable, Hashable {
    /// Bytes at a guest physical address.
    public struct Piece: Sendable, Hashable {
        /// The address of the first byte.
        public var address: UInt64
        /// The bytes.
        public var bytes: [UInt8]
    }

    /// The mode that the vCPU starts in.
    public let mode: GuestMode
    /// Bytes of guest memory.
    public let memoryBytes: UInt64
    /// What goes where; everything else is zero. No two pieces overlap.
    public let pieces: [Piece]
    /// The general registers at the start.
    public let registers: Registers
    /// The segments, descriptor tables and control registers at the start.
    public let system: SystemRegisters
    /// Whether CR4 is exactly what ``system`` says, because the job set it; otherwise the machine may turn on what it has.
    public let fixesCR4: Bool
    /// What ends at 4 GiB and the guest cannot write; empty for none.
    public let rom: [UInt8]

    /// Decides where an image goes and how it starts, by the job's wishes or by the mode's defaults.
    ///
    /// | mode | image at | entry | stack pointer |
    /// |---|---|---|---|
    /// | `real16` | 0x1000; 0x7C00 for a boot sector | the load address; below 64 KiB, an offset in CS, whose base is 0 | the load address |
    /// | `protected32`, `long64`, `user64` | 0x100000 | the load address | the end of guest memory |
    ///
    /// A boot sector is an image of 512 bytes that ends in 55 AA. With ``JobSpec/pieces`` the first of them is the load address,
    /// and the job names the entry point. All registers that the job does not set are zero, but for bit 1 of RFLAGS.
    public init(flat image: [UInt8], spec: JobSpec) throws(Refusal) {
        guard !image.isEmpty else { throw Refusal(.imageEmpty, "the image has no bytes") }
        try Self.checkMemory(spec.memoryBytes)
        let system = try InitialState.systemRegisters(of: spec)
        let placement = try ImagePlacement(of: image, spec: spec, system: system)
        let entry = try Self.checkEntry(placement.entryPoint, system: system, spec: spec)

        mode = spec.mode
        memoryBytes = spec.memoryBytes
        pieces = SystemArea.pieces(for: spec.mode, startingWith: system) + placement.pieces(of: image)
        registers = try Self.registers(entry: entry, load: placement.loadAddress, spec: spec)
        self.system = system
        fixesCR4 = spec.controls[.cr4] != nil
        rom = []
    }

    /// A layout of which all is decided.
    init(
        mode: GuestMode, memoryBytes: UInt64, pieces: [Piece], registers: Registers, system: SystemRegisters,
        rom: [UInt8]
    ) {
        (self.mode, self.memoryBytes, self.pieces, self.rom) = (mode, memoryBytes, pieces, rom)
        (self.registers, self.system, fixesCR4) = (registers, system, false)
    }

    /// The least guest memory: 1 MiB.
    public static let minimumMemoryBytes: UInt64 = 1 << 20
    /// The most guest memory: 1 GiB.
    public static let maximumMemoryBytes: UInt64 = 1 << 30
    /// Where flat images other than real-mode ones load: 1 MiB.
    public static let flatLoadAddress: UInt64 = 0x10_0000
    /// Where real-mode images load.
    public static let realModeLoadAddress: UInt64 = 0x1000
    /// Where boot sectors load, as a PC's firmware does it.
    public static let bootSectorLoadAddress: UInt64 = 0x7C00
    /// The first address that a real-mode entry point cannot reach with CS = 0.
    public static let realModeReach: UInt64 = 0x1_0000
    /// Bytes between the stack pointers that two vCPUs of one job start with, which have consecutive numbers: 16 KiB, and 128 in
    /// `real16`, where 16 of them end above the interrupt vectors.
    public static func stackDistance(in mode: GuestMode) -> UInt64 { mode == .real16 ? 128 : 16 << 10 }
    /// A page.
    static let pageBytes: UInt64 = 4096

    /// Where an image goes whose job names no load address.
    public static func defaultLoadAddress(of image: [UInt8], mode: GuestMode) -> UInt64 {
        guard mode == .real16 else { return flatLoadAddress }
        return isBootSector(image) ? bootSectorLoadAddress : realModeLoadAddress
    }

    /// 512 bytes that end in 55 AA.
    public static func isBootSector(_ image: [UInt8]) -> Bool {
        image.count == 512 && image[510] == 0x55 && image[511] == 0xAA
    }

    static func checkMemory(_ memory: UInt64) throws(Refusal) {
        let bounds = minimumMemoryBytes...maximumMemoryBytes
        guard bounds.contains(memory), memory % pageBytes == 0 else {
            throw Refusal(
                .memorySize, "guest memory of \(memory) bytes: it must be whole pages of 4 KiB, from 1 MiB to 1 GiB",
                limit: maximumMemoryBytes, value: memory)
        }
    }

    /// The first instruction is looked for at the code segment's base plus the entry point, with no wrap at 1 MiB: KVM does not
    /// mask address line 20. With page tables of the job's own the entry point is a linear address, and can be any.
    private static func checkEntry(
        _ entry: UInt64, system: SystemRegisters, spec: JobSpec
    ) throws(Refusal) -> UInt64 {
        guard spec.mode != .real16 || entry < realModeReach else {
            throw Refusal(
                .entryOutsideMemory,
                "the entry point \(entry.hexadecimal) is out of reach: in real16 it is an offset in the code segment, so it must be below 0x10000",
                limit: realModeReach, value: entry)
        }
        if system.cr0 & ControlRegister.paging != 0, spec.controls[.cr3] != nil { return entry }
        let base = system.cs.attributes.l ? 0 : system.cs.base
        let linear = base.addingReportingOverflow(entry)
        guard !linear.overflow, linear.partialValue < spec.memoryBytes else {
            let place = base == 0 ? "" : " in the code segment at \(base.hexadecimal)"
            throw Refusal(
                .entryOutsideMemory,
                "the entry point \(entry.hexadecimal)\(place) is outside guest memory of \(spec.memoryBytes) bytes",
                limit: spec.memoryBytes, value: entry)
        }
        return entry
    }

    /// RFLAGS bits that a job may set: CF PF AF ZF SF TF IF DF OF IOPL NT RF AC ID.
    static let settableFlags: UInt64 = 0x25_7FD5
    /// The bit of RFLAGS that always reads one.
    static let fixedFlag: UInt64 = 2

    static func registers(entry: UInt64, load: UInt64, spec: JobSpec) throws(Refusal) -> Registers {
        var registers = Registers()
        registers.rip = entry
        registers.rsp = spec.mode == .real16 ? load & 0xFFFF : spec.memoryBytes
        for (name, value) in spec.registers { registers[name] = value }
        guard spec.registers[.rip] == nil else {
            throw Refusal(.invalidField, "rip is not set as a register: it is the entry point")
        }
        let flags = registers.rflags & ~fixedFlag
        guard flags & ~settableFlags == 0 else {
            throw Refusal(
                .invalidField,
                "rflags \(flags.hexadecimal) has bits outside \(settableFlags.hexadecimal), which a job may not set",
                limit: settableFlags, value: flags)
        }
        registers.rflags = flags | fixedFlag
        return registers
    }
}
