// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Starts an ELF kernel without any boot protocol: at its first instruction, in the mode of its class, with flat segments, no
/// interrupts and a stack.
enum BareLaunch {
    /// Bytes of the stack: 64 KiB.
    static let stackBytes: UInt64 = 0x1_0000

    static func plan(
        _ bytes: ImageBytes, _ options: LaunchOptions, memoryBytes: UInt64
    ) throws(LaunchError) -> LaunchPlan {
        try options.checkStartIsNotNamed(for: .elf)
        try options.checkNothingIsPassed(to: .elf)
        let kernel = try KernelFile(bytes, memoryBytes: memoryBytes)
        var map = MemoryMap(memoryBytes: memoryBytes)
        try kernel.add(to: &map)
        let entry = try kernel.physicalEntry()
        let is32 = kernel.fileClass == .bits32
        let start = try StartTables(is32 ? .protected32 : .long64, in: &map)
        let stack = try map.place(MemoryMap.Item(name: "stack", count: stackBytes, role: .stack))
        var plan = LaunchPlan(
            format: .elf, mode: is32 ? .protected32 : .long64, map: map, entryPoint: entry,
            registers: [.rsp: stack + stackBytes], start: start, facts: [LaunchPlan.Fact("file", kernel.className)])
        if kernel.entry != entry {
            plan.facts.append(
                LaunchPlan.Fact("entry", "\(kernel.entry.hexadecimal) by e_entry, \(entry.hexadecimal) in memory"))
        }
        plan.notes = notes(bytes)
        return plan
    }

    /// A header by which the kernel was to be started otherwise is worth a word.
    private static func notes(_ bytes: ImageBytes) -> [String] {
        var notes: [String] = []
        if let place = MultibootHeader.places(in: bytes).first {
            notes.append(
                "the Multiboot header at byte \(place) has a wrong checksum, so the kernel starts bare; --format multiboot tells more"
            )
        }
        if let place = MultibootHeader.findSecondVersion(in: bytes) {
            notes.append(
                "there is a header of Multiboot 2 at byte \(place), of which nothing is known here: the kernel starts bare"
            )
        }
        return notes
    }
}
