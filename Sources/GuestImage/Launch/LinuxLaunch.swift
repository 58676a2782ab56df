// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Starts Linux at its 64-bit entry: long mode with the first 4 GiB at their own addresses, selectors 0x10 and 0x18, RSI the address
/// of `boot_params`.
enum LinuxLaunch {
    static func plan(
        _ bytes: ImageBytes, _ options: LaunchOptions, memoryBytes: UInt64
    ) throws(LaunchError) -> LaunchPlan {
        try options.checkStartIsNotNamed(for: .linux)
        let header = try LinuxHeader(bytes)
        try check(options, header)
        var map = MemoryMap(memoryBytes: memoryBytes)
        let load = try loadAddress(header, memoryBytes: memoryBytes)
        try add(header, bytes, at: load, to: &map)
        let start = try StartTables(.linux, in: &map)
        let parameters = try BootParameters(header, options, in: &map)
        var plan = LaunchPlan(
            format: .linux, mode: .long64, map: map, entryPoint: load + LinuxHeader.entryOffset,
            registers: [.rsi: parameters.address], start: start, facts: facts(header))
        plan.needs = [.board]
        plan.leastMemoryBytes = leastMemoryBytes(plan.map)
        return plan
    }

    private static func add(
        _ header: LinuxHeader, _ bytes: ImageBytes, at load: UInt64, to map: inout MemoryMap
    ) throws(LaunchError) {
        try map.add(
            MemoryMap.Claim(
                name: "kernel", address: load, count: header.kernelBytes,
                bytes: bytes[header.setupBytes, header.kernelBytes], field: ("pref_address", 0x258)))
        try map.add(
            MemoryMap.Claim(
                name: "room to unpack", address: load + header.kernelBytes,
                count: header.memoryBytes - header.kernelBytes, bytes: [], role: .workspace, field: ("init_size", 0x260)
            ))
    }

    private static func check(_ options: LaunchOptions, _ header: LinuxHeader) throws(LaunchError) {
        let count = UInt64(options.commandLine?.count ?? 0)
        guard count <= header.commandLineLimit else {
            throw LaunchError(
                .option, "--append", count, "this kernel takes at most \(header.commandLineLimit) bytes (cmdline_size)")
        }
    }

    /// The preferred address, or for a kernel that can be elsewhere the lowest one from 1 MiB on where it fits.
    private static func loadAddress(_ header: LinuxHeader, memoryBytes: UInt64) throws(LaunchError) -> UInt64 {
        let preferred = header.preferredAddress
        let end = preferred.addingReportingOverflow(header.memoryBytes)
        if preferred >= PCMemory.upperStart, !end.overflow, end.partialValue <= memoryBytes { return preferred }
        guard header.isRelocatable else {
            throw LaunchError(
                preferred < PCMemory.upperStart ? .invalidField : .outsideMemory, "pref_address", preferred, at: 0x258,
                "the kernel cannot be elsewhere, and its \(header.memoryBytes) bytes must lie between 1 MiB and the end of guest "
                    + "memory of \(memoryBytes) bytes")
        }
        let lowest = max(PCMemory.upperStart, header.alignment)
        guard lowest <= memoryBytes, header.memoryBytes <= memoryBytes - lowest else {
            throw LaunchError(
                .outsideMemory, "init_size", header.memoryBytes, at: 0x260,
                "the kernel needs so many bytes from \(lowest.hexadecimal) on, and guest memory has \(memoryBytes)")
        }
        return lowest
    }

    /// The disk could lie right behind the kernel.
    private static func leastMemoryBytes(_ map: MemoryMap) -> UInt64 {
        let disk = map.regions.filter { $0.role == .module }.reduce(0) { $0 + LaunchPlan.wholePages($1.count) }
        let end = map.regions.last { $0.role != .module }?.end ?? 0
        return LaunchPlan.wholePages(end) + disk
    }

    private static func facts(_ header: LinuxHeader) -> [LaunchPlan.Fact] {
        var facts = [
            LaunchPlan.Fact(
                "header",
                "boot protocol \(header.version >> 8).\(header.version & 0xFF), 64-bit entry"
                    + (header.isRelocatable ? ", relocatable" : ""))
        ]
        if let release = header.release { facts.append(LaunchPlan.Fact("kernel", "Linux \(release)")) }
        return facts
    }
}
