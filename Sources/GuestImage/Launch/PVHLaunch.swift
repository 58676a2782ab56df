// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Starts a kernel as Xen's PVH protocol has it: 32-bit protected mode without paging, EBX the address of `hvm_start_info`.
enum PVHLaunch {
    static func plan(
        _ bytes: ImageBytes, _ options: LaunchOptions, memoryBytes: UInt64
    ) throws(LaunchError) -> LaunchPlan {
        try options.checkStartIsNotNamed(for: .pvh)
        let kernel = try KernelFile(bytes, memoryBytes: memoryBytes)
        let note = try KernelFile.pvhEntry(bytes)
        var map = MemoryMap(memoryBytes: memoryBytes)
        try kernel.add(to: &map)
        guard let region = map.region(at: note.address), region.role == .image || region.role == .zeros else {
            throw LaunchError(
                .entryOutsideImage, "XEN_ELFNOTE_PHYS32_ENTRY", note.address, at: note.place,
                "the first instruction is in none of the segments, by their physical addresses")
        }
        let start = try StartTables(.protected32, in: &map)
        let information = try PVHInformation(options, in: &map)
        return LaunchPlan(
            format: .pvh, mode: .protected32, map: map, entryPoint: note.address,
            registers: [.rbx: information.address],
            start: start,
            facts: [
                LaunchPlan.Fact("header", "XEN_ELFNOTE_PHYS32_ENTRY, at byte \(note.place)"),
                LaunchPlan.Fact("file", kernel.className),
            ])
    }
}

/// What a PVH kernel is told, in memory: `hvm_start_info`, version 1.
///
/// | offset | field |
/// |---|---|
/// | 0, 4, 8 | magic, version, flags |
/// | 12, 16 | nr_modules, modlist_paddr |
/// | 24, 32 | cmdline_paddr, rsdp_paddr |
/// | 40, 48 | memmap_paddr, memmap_entries |
struct PVHInformation {
    let address: UInt64

    static let magic: UInt32 = 0x336E_C578
    private static let byteCount = 56
    private static let moduleBytes = 32
    private static let rangeBytes = 24

    /// Lays down the structure and all that it points to. There are no ACPI tables, so that rsdp_paddr is 0.
    init(_ options: LaunchOptions, in map: inout MemoryMap) throws(LaunchError) {
        let modules = try LoadedModule.place(options.modules, in: &map)
        let records = try Self.place(modules, in: &map)
        let text = try map.place(text: options.commandLine ?? [], named: "command line")
        let ranges = PCMemory.ranges(memoryBytes: map.memoryBytes)
        let table = try map.place(.init(name: "memory map", count: UInt64(ranges.count * Self.rangeBytes))) { _ in
            Self.table(ranges)[...]
        }
        var structure = BootStructure(count: Self.byteCount)
        structure.set(Self.magic, at: 0)
        structure.set(UInt32(1), at: 4)
        structure.set(UInt32(modules.count), at: 12)
        structure.set(records, at: 16)
        structure.set(text, at: 24)
        structure.set(table, at: 40)
        structure.set(UInt32(ranges.count), at: 48)
        address = try map.place(.init(name: "hvm_start_info", count: UInt64(Self.byteCount))) { _ in
            structure.bytes[...]
        }
    }

    /// `hvm_modlist_entry`: address, count, text. Without modules there are none, and the address is 0.
    private static func place(_ modules: [LoadedModule], in map: inout MemoryMap) throws(LaunchError) -> UInt64 {
        guard !modules.isEmpty else { return 0 }
        var records = BootStructure(count: modules.count * moduleBytes)
        for (index, module) in modules.enumerated() {
            records.set(module.address, at: index * moduleBytes)
            records.set(module.count, at: index * moduleBytes + 8)
            records.set(module.text, at: index * moduleBytes + 16)
        }
        return try map.place(.init(name: "module list", count: UInt64(records.bytes.count))) { _ in records.bytes[...] }
    }

    /// `hvm_memmap_table_entry`: address, count, kind.
    private static func table(_ ranges: [PCMemory.Range]) -> [UInt8] {
        var table = BootStructure(count: ranges.count * rangeBytes)
        for (index, range) in ranges.enumerated() {
            table.set(range.address, at: index * rangeBytes)
            table.set(range.count, at: index * rangeBytes + 8)
            table.set(range.kind.rawValue, at: index * rangeBytes + 16)
        }
        return table.bytes
    }
}
