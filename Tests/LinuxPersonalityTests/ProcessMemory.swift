// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import KVM
import SeededRandom
import Testing

@testable import LinuxPersonality

/// A process's memory without a vCPU.
final class ProcessMemory {
    let memory: GuestMemory
    var process: LinuxProcess
    /// Frames that the last audit found to be page tables.
    fileprivate var tableFrames: Set<UInt32> = []
    var space: AddressSpace {
        get { process.space }
        _modify { yield &process.space }
    }

    init(bytes: UInt64 = 16 << 20) throws {
        memory = try GuestMemory(scratchBytes: bytes)
        process = LinuxProcess(space: AddressSpace(in: memory))
    }

    /// Opens a file with these bytes, as descriptor 3.
    func open(_ bytes: FileBytes) throws {
        let tree = try #require(FileTree(files: [(path: "mapped", content: bytes, mode: 0o644)]))
        process.files = ProcessFiles(tree: OverlayTree(layers: [tree]))
        let found = process.files.tree.child(FileName("mapped"), of: .root)
        let file = OpenFile(kind: .file(try #require(found)), flags: [])
        let descriptor = try process.files.add(file, closeOnExec: false)
        try #require(descriptor == 3)
    }

    /// A call's value, or its error's number below 0, as a program sees it.
    @discardableResult
    func call(_ call: SystemCall, _ arguments: UInt64...) -> Int64 {
        let all = arguments + [UInt64](repeating: 0, count: 6 - arguments.count)
        let registers = CallArguments([all[0], all[1], all[2], all[3], all[4], all[5]])
        do {
            guard case .value(let value) = try process.perform(call, registers, memory) else { return .min }
            return Int64(bitPattern: value)
        } catch { return Int64(bitPattern: error.returnValue) }
    }

    static let calls: [SystemCall] = [
        .brk, .mmap, .munmap, .mprotect, .mremap, .madvise, .mincore, .msync, .mlock, .mlock2, .munlock, .mlockall,
        .munlockall,
    ]

    /// `mmap` of private anonymous memory.
    func map(_ bytes: UInt64, at address: UInt64 = 0, _ protection: UInt64 = 3, flags: UInt64 = 0) -> Int64 {
        call(.mmap, address, bytes, protection, 0x22 | flags | (address == 0 ? 0 : 0x10), .max, 0)
    }

    func fault(_ address: UInt64, _ access: MemoryAccess = .read) -> FaultOutcome {
        space.resolveFault(at: address, for: access, memory)
    }

    func read(_ address: UInt64, _ count: Int) throws -> [UInt8] { try space.read(address, count: count, memory) }

    func write(_ bytes: [UInt8], _ address: UInt64) throws { try space.write(bytes, at: address, memory) }

    var maps: [Substring] { String(decoding: space.memoryMap, as: UTF8.self).split(separator: "\n") }
}

extension ProcessMemory {
    /// Checks everything that must hold of regions, page tables and frames together. Takes the tables apart from their root, as a
    /// processor does.
    func audit(_ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation) {
        var complaints: [String] = []
        let pages = leafEntries(table: space.tables.root, level: 3, base: 0, &complaints)
        let regions = (0..<space.regions.count).map { space.regions[$0] }
        var charged = 0
        var backed = 0
        for (before, after) in zip(regions, regions.dropFirst()) {
            if before.end > after.start { complaints.append("regions overlap at \(after.start)") }
            if before.continues(into: after) { complaints.append("regions are not merged at \(after.start)") }
        }
        for region in regions {
            if region.start >= region.end || region.start % 4096 != 0 || region.end % 4096 != 0 {
                complaints.append("region \(region.start)")
            }
            if region.isCharged { charged += region.pages }
        }
        var frames = tableFrames
        var index = 0
        for (address, bits) in pages {
            while index < regions.count, regions[index].end <= address { index += 1 }
            guard index < regions.count, regions[index].start <= address else {
                complaints.append("a page without a region: \(address)")
                continue
            }
            let entry = PageEntry(bits: bits)
            if entry != PageEntry(frame: entry.frame, regions[index].protection) {
                complaints.append("rights of \(address): \(String(bits, radix: 16))")
            }
            if !frames.insert(entry.frame).inserted { complaints.append("frame \(entry.frame) twice") }
            if UInt64(entry.frame) * 4096 >= memory.bytes || entry.frame < 32 {
                complaints.append("frame \(entry.frame)")
            }
            if regions[index].isCharged { backed += 1 }
        }
        let account = space.frames
        if account.charged != charged { complaints.append("charged \(account.charged), should be \(charged)") }
        if account.chargedBacked != backed { complaints.append("backed \(account.chargedBacked), not \(backed)") }
        if account.used != frames.count { complaints.append("in use \(account.used), found \(frames.count)") }
        if account.tables != tableFrames.count { complaints.append("tables \(account.tables)") }
        if account.available < 0 { complaints.append("available \(account.available)") }
        for page in memory.occupiedPages() where page >= 32 && !frames.contains(UInt32(page)) {
            complaints.append("free frame \(page) is not empty")
        }
        if space.failure != nil { complaints.append("the host failed") }
        #expect(complaints == [], comment, sourceLocation: sourceLocation)
    }

    private static let present: UInt64 = 1
    private static let addressMask: UInt64 = 0x000F_FFFF_FFFF_F000

    private func leafEntries(
        table: UInt64, level: UInt64, base: UInt64, _ complaints: inout [String]
    ) -> [(address: UInt64, bits: UInt64)] {
        if level == 3 { tableFrames = [] }
        var found: [(address: UInt64, bits: UInt64)] = []
        for (index, bits) in memory.words(at: table, count: 512).enumerated() where bits != 0 {
            let address = base + UInt64(index) << (12 + 9 * level)
            if level == 0 {
                found.append((address, bits))
                continue
            }
            let next = bits & Self.addressMask
            // Present, writable, for users, accessed and dirty, executable: only the lowest level takes rights away.
            if bits & ~Self.addressMask != 0x67 { complaints.append("table entry \(String(bits, radix: 16))") }
            if !tableFrames.insert(UInt32(next / 4096)).inserted { complaints.append("table \(next) twice") }
            found += leafEntries(table: next, level: level - 1, base: address, &complaints)
        }
        return found
    }
}
