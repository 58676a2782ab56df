// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What Linux is told, in memory: `boot_params`, the "zero page".
///
/// | offset | field |
/// |---|---|
/// | 0x0C0, 0x0C4, 0x0C8 | upper halves of ramdisk_image, ramdisk_size, cmd_line_ptr: 0 |
/// | 0x1E8, 0x2D0 | e820_entries, e820_table |
/// | 0x1F1 | the file's own setup header, with what a boot loader fills in |
struct BootParameters {
    let address: UInt64

    private static let byteCount = 4096
    private static let rangeBytes = 20
    private static let anyLoader: UInt8 = 0xFF
    private static let normalVideo: UInt16 = 0xFFFF

    init(_ header: LinuxHeader, _ options: LaunchOptions, in map: inout MemoryMap) throws(LaunchError) {
        let disk = try Self.placeDisk(options.modules, below: header.diskLimit, in: &map)
        let text = try map.place(text: options.commandLine ?? [], named: "command line")
        var page = BootStructure(count: Self.byteCount)
        page.set(header.fields, at: Int(LinuxHeader.start))
        page.set(Self.normalVideo, at: 0x1FA)
        page.set(Self.anyLoader, at: 0x210)
        page.set(UInt32(truncatingIfNeeded: disk.address), at: 0x218)
        page.set(UInt32(truncatingIfNeeded: disk.count), at: 0x21C)
        page.set(UInt32(truncatingIfNeeded: text), at: 0x228)
        let ranges = PCMemory.ranges(memoryBytes: map.memoryBytes)
        page.set(UInt8(ranges.count), at: 0x1E8)
        for (index, range) in ranges.enumerated() {
            let place = 0x2D0 + index * Self.rangeBytes
            page.set(range.address, at: place)
            page.set(range.count, at: place + 8)
            page.set(range.kind.rawValue, at: place + 16)
        }
        let item = MemoryMap.Item(name: "boot_params", count: UInt64(Self.byteCount), alignment: 0x1000)
        address = try map.place(item) { _ in page.bytes[...] }
    }

    /// Several disks are one after the other, each filled up to whole words, as the kernel reads them. Without any, address and count
    /// are 0.
    private static func placeDisk(
        _ modules: [LaunchOptions.Module], below limit: UInt64, in map: inout MemoryMap
    ) throws(LaunchError) -> (address: UInt64, count: UInt64) {
        let disk = join(modules)
        guard !disk.isEmpty else { return (0, 0) }
        let count = UInt64(disk.count)
        let item = MemoryMap.Item(
            name: "initial RAM disk", count: count, role: .module, alignment: GuestLayout.pageBytes,
            search: .high(below: limit + 1))
        let address = try map.place(item) { _ in disk }
        return (address, count)
    }

    private static func join(_ modules: [LaunchOptions.Module]) -> ArraySlice<UInt8> {
        guard modules.count != 1 else { return modules[0].bytes[...] }
        var disk: [UInt8] = []
        for module in modules {
            disk += module.bytes
            disk += [UInt8](repeating: 0, count: (4 - disk.count % 4) % 4)
        }
        return disk[...]
    }
}
