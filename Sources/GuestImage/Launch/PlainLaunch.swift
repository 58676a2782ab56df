// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Starts images without a header: machine code, a boot sector, firmware.
enum PlainLaunch {
    /// Machine code, at the mode's place or where the options say.
    static func flat(_ image: [UInt8], _ options: LaunchOptions, memoryBytes: UInt64) throws(LaunchError) -> LaunchPlan
    {
        try options.checkNothingIsPassed(to: .flat)
        let mode = options.mode ?? .real16
        // Told to be flat, a boot sector is nothing else.
        let usual = mode == .real16 ? GuestLayout.realModeLoadAddress : GuestLayout.flatLoadAddress
        return try plan(.flat, ImageBytes(image), mode, options.loadAddress ?? usual, options, memoryBytes)
    }

    /// What a PC's firmware loads of a disk: its first 512 bytes.
    static func bootSector(
        _ bytes: ImageBytes, _ options: LaunchOptions, memoryBytes: UInt64
    ) throws(LaunchError) -> LaunchPlan {
        try options.checkNothingIsPassed(to: .bootSector)
        guard bytes.half(at: 510) == 0xAA55 else {
            throw LaunchError(
                .otherFormat, "signature", UInt64(bytes.half(at: 510)), at: 510,
                "the first sector of a disk that can be started from ends in 55 aa, 0xaa55")
        }
        let mode = options.mode ?? .real16
        let usual = mode == .real16 ? GuestLayout.bootSectorLoadAddress : GuestLayout.flatLoadAddress
        let sector = ImageBytes(bytes[0, 512])
        var plan = try plan(.bootSector, sector, mode, options.loadAddress ?? usual, options, memoryBytes)
        if bytes.count > 512 {
            plan.notes = [
                "the other \(bytes.count - 512) bytes of the disk stay out: there is no firmware to read them by"
            ]
        }
        return plan
    }

    private static func plan(
        _ format: ImageFormat, _ bytes: ImageBytes, _ mode: GuestMode, _ load: UInt64, _ options: LaunchOptions,
        _ memoryBytes: UInt64
    ) throws(LaunchError) -> LaunchPlan {
        guard bytes.count > 0 else { throw LaunchError(.truncated, "size", 0, "the image has no bytes") }
        var map = MemoryMap(memoryBytes: memoryBytes)
        try map.add(
            MemoryMap.Claim(
                name: "image", address: load, count: bytes.count, bytes: bytes[0, bytes.count], field: ("--load", nil)))
        return LaunchPlan(
            format: format, mode: mode, map: map, entryPoint: options.entryPoint ?? load, registers: [:], start: nil,
            facts: [])
    }

    /// Firmware: the processor begins as after a reset, at F000:FFF0 with a base that leads to the end of the ROM.
    static func rom(
        _ bytes: ImageBytes, _ options: LaunchOptions, memoryBytes: UInt64
    ) throws(LaunchError) -> LaunchPlan {
        try options.checkStartIsNotNamed(for: .rom)
        try options.checkNothingIsPassed(to: .rom)
        let rom = try ROMImage(bytes)
        var plan = LaunchPlan(
            format: .rom, mode: .real16, map: MemoryMap(memoryBytes: memoryBytes), entryPoint: 0xFFF0, registers: [:],
            start: nil, facts: [])
        plan.rom = rom
        plan.segments[.cs] = Segment(
            base: ROMImage.end - 0x1_0000, limit: 0xFFFF, selector: 0xF000, attributes: .init(type: 11, s: true))
        plan.needs = [.readOnlyMemory, .board]
        return plan
    }
}
