// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Starts a kernel as Multiboot 1 has it: 32-bit protected mode without paging, EAX the magic number, EBX the address of the
/// information structure (section 3.2 and 3.3 of the specification).
enum MultibootLaunch {
    /// What EAX holds.
    static let bootMagic: UInt64 = 0x2BAD_B002
    /// What the structure calls us.
    static let loaderName = "kvmjob"

    static func plan(
        _ bytes: ImageBytes, _ options: LaunchOptions, memoryBytes: UInt64
    ) throws(LaunchError) -> LaunchPlan {
        try options.checkStartIsNotNamed(for: .multiboot)
        let header = try MultibootHeader(in: bytes)
        var map = MemoryMap(memoryBytes: memoryBytes)
        let entry: UInt64
        var facts = [
            LaunchPlan.Fact(
                "header", "Multiboot 1, at byte \(header.offset), flags \(UInt64(header.flags).hexadecimal)")
        ]
        if let addresses = header.addresses {
            try addresses.add(bytes, headerAt: header.offset, to: &map)
            entry = addresses.entry
            facts.append(LaunchPlan.Fact("file", "loaded by the addresses of the Multiboot header"))
        } else {
            let kernel = try Self.kernel(bytes, header, memoryBytes: memoryBytes)
            try kernel.add(to: &map)
            entry = try kernel.physicalEntry()
            facts.append(LaunchPlan.Fact("file", kernel.className))
        }
        let start = try StartTables(.protected32, in: &map)
        let information = try MultibootInformation(options, in: &map)
        return LaunchPlan(
            format: .multiboot, mode: .protected32, map: map, entryPoint: entry,
            registers: [.rax: bootMagic, .rbx: information.address], start: start, facts: facts)
    }

    private static func kernel(
        _ bytes: ImageBytes, _ header: MultibootHeader, memoryBytes: UInt64
    ) throws(LaunchError) -> KernelFile {
        do throws(LaunchError) {
            return try KernelFile(bytes, memoryBytes: memoryBytes)
        } catch  where error.rule == .otherFormat {
            throw LaunchError(
                .invalidField, "flags", UInt64(header.flags), at: header.offset + 4,
                "bit 16 is 0, so that the file has to be ELF, and it is not: set the bit and the five addresses, or take the file "
                    + "as it is with --format flat")
        }
    }
}

/// What a Multiboot kernel is told, in memory.
///
/// | offset | field |
/// |---|---|
/// | 0 | flags: which of the others are there |
/// | 4, 8 | mem_lower, mem_upper, in KiB |
/// | 16 | cmdline |
/// | 20, 24 | mods_count, mods_addr |
/// | 44, 48 | mmap_length, mmap_addr |
/// | 64 | boot_loader_name |
struct MultibootInformation {
    let address: UInt64

    /// Bytes of the structure: 116.
    private static let byteCount = 116
    private static let moduleBytes = 16
    private static let rangeBytes = 24
    /// Memory sizes (bit 0), command line (2), modules (3), memory map (6), boot loader's name (9).
    private static let flags: UInt32 = 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9

    /// Lays down the structure and all that it points to.
    init(_ options: LaunchOptions, in map: inout MemoryMap) throws(LaunchError) {
        let modules = try LoadedModule.place(options.modules, in: &map)
        let records = try Self.place(modules, in: &map)
        let text = try map.place(text: options.commandLine ?? [], named: "command line")
        let name = try map.place(text: Array(MultibootLaunch.loaderName.utf8), named: "boot loader's name")
        let ranges = Self.ranges(memoryBytes: map.memoryBytes)
        let table = try map.place(.init(name: "memory map", count: UInt64(ranges.count))) { _ in ranges[...] }
        var structure = BootStructure(count: Self.byteCount)
        structure.set(Self.flags, at: 0)
        structure.set(UInt32(PCMemory.lowerEnd / 1024), at: 4)
        structure.set(UInt32((map.memoryBytes - PCMemory.upperStart) / 1024), at: 8)
        structure.set(UInt32(truncatingIfNeeded: text), at: 16)
        structure.set(UInt32(modules.count), at: 20)
        structure.set(UInt32(truncatingIfNeeded: records), at: 24)
        structure.set(UInt32(ranges.count), at: 44)
        structure.set(UInt32(truncatingIfNeeded: table), at: 48)
        structure.set(UInt32(truncatingIfNeeded: name), at: 64)
        address = try map.place(.init(name: "Multiboot information", count: UInt64(Self.byteCount))) { _ in
            structure.bytes[...]
        }
    }

    /// The modules' records: start, end, text, 0. Without modules there are none, and the address is 0.
    private static func place(_ modules: [LoadedModule], in map: inout MemoryMap) throws(LaunchError) -> UInt64 {
        guard !modules.isEmpty else { return 0 }
        var records = BootStructure(count: modules.count * moduleBytes)
        for (index, module) in modules.enumerated() {
            records.set(UInt32(truncatingIfNeeded: module.address), at: index * moduleBytes)
            records.set(UInt32(truncatingIfNeeded: module.address + module.count), at: index * moduleBytes + 4)
            records.set(UInt32(truncatingIfNeeded: module.text), at: index * moduleBytes + 8)
        }
        return try map.place(.init(name: "module list", count: UInt64(records.bytes.count))) { _ in records.bytes[...] }
    }

    /// The memory map: the size of what follows, address, count, kind.
    private static func ranges(memoryBytes: UInt64) -> [UInt8] {
        let ranges = PCMemory.ranges(memoryBytes: memoryBytes)
        var table = BootStructure(count: ranges.count * rangeBytes)
        for (index, range) in ranges.enumerated() {
            let place = index * rangeBytes
            table.set(UInt32(rangeBytes - 4), at: place)
            table.set(range.address, at: place + 4)
            table.set(range.count, at: place + 12)
            table.set(range.kind.rawValue, at: place + 20)
        }
        return table.bytes
    }
}
