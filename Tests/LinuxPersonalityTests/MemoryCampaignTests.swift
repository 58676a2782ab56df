// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc
import KVM
import SeededRandom
import Testing

@testable import LinuxPersonality

/// The test process's own memory, used as the program uses its own: at fixed addresses far from everything else of the process.
private final class HostMemory {
    static let file = (0..<40_000).map { UInt8(truncatingIfNeeded: $0 &* 37 >> 5) }

    let descriptor: Int32
    private let ends: (read: Int32, write: Int32)

    init() {
        var name = Array("/tmp/kvmjob-memory-XXXXXX".utf8CString)
        let file = mkstemp(&name)
        unlink(name)
        _ = Self.file.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
        descriptor = open("/proc/self/fd/\(file)", O_RDONLY)
        close(file)
        var pipes: [Int32] = [0, 0]
        pipe(&pipes)
        ends = (pipes[0], pipes[1])
    }

    deinit { for number in [descriptor, ends.read, ends.write] { close(number) } }

    private func result(_ value: Int) -> Int64 { value == -1 ? -Int64(errno) : Int64(value) }

    func call(_ call: SystemCall, _ a: [UInt64]) -> Int64 {
        guard let pointer = UnsafeMutableRawPointer(bitPattern: UInt(a[0])) else { return .min }
        switch call {
        case .mmap:
            let number = a[4] == 3 ? descriptor : -1
            let address = Glibc.mmap(
                pointer, Int(bitPattern: UInt(a[1])), Int32(a[2]), Int32(a[3]), number, Int(bitPattern: UInt(a[5])))
            return result(Int(bitPattern: address))
        case .munmap: return result(Int(Glibc.munmap(pointer, Int(bitPattern: UInt(a[1])))))
        case .mprotect: return result(Int(Glibc.mprotect(pointer, Int(bitPattern: UInt(a[1])), Int32(a[2]))))
        case .mremap:
            let address = syscallRemap(a)
            return result(address)
        case .madvise: return result(Int(Glibc.madvise(pointer, Int(bitPattern: UInt(a[1])), Int32(a[2]))))
        case .msync: return result(Int(Glibc.msync(pointer, Int(bitPattern: UInt(a[1])), Int32(a[2]))))
        default: return .min
        }
    }

    /// `mremap` is variadic, so that Swift does not see it.
    private func syscallRemap(_ a: [UInt64]) -> Int {
        typealias Function = @convention(c) (UInt, UInt, UInt, Int32, UInt) -> Int
        let function = unsafeBitCast(dlsym(nil, "mremap"), to: Function.self)
        return function(UInt(a[0]), UInt(a[1]), UInt(a[2]), Int32(truncatingIfNeeded: a[3]), UInt(a[4]))
    }

    /// What the kernel reads at an address, as `write` does; nil if it must not.
    func read(_ address: UInt64, _ count: Int) -> [UInt8]? {
        guard Glibc.write(ends.write, UnsafeRawPointer(bitPattern: UInt(address)), count) == count else { return nil }
        var bytes = [UInt8](repeating: 0, count: count)
        return Glibc.read(ends.read, &bytes, count) == count ? bytes : nil
    }

    func write(_ bytes: [UInt8], _ address: UInt64) -> Bool {
        guard Glibc.write(ends.write, bytes, bytes.count) == bytes.count else { return false }
        guard Glibc.read(ends.read, UnsafeMutableRawPointer(bitPattern: UInt(address)), bytes.count) == bytes.count
        else {
            var drained = bytes
            _ = Glibc.read(ends.read, &drained, bytes.count)
            return false
        }
        return true
    }
}

/// The same calls of a program's and of the test process's own, compared.
@Suite(.serialized) struct MemoryCampaignTests {
    private static let page: UInt64 = 4096
    private static let pages: UInt64 = 48

    /// Rights page by page, from text like that of `/proc/self/maps`.
    private static func rights(_ text: String, in window: Range<UInt64>) -> [String] {
        var rights = [String](repeating: "", count: Int(pages))
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 2)
            let ends = parts[0].split(separator: "-").compactMap { UInt64($0, radix: 16) }
            guard ends.count == 2, ends[0] < window.upperBound, ends[1] > window.lowerBound else { continue }
            let part = (ends[0]..<ends[1]).clamped(to: window)
            for address in stride(from: part.lowerBound, to: part.upperBound, by: Int(page)) {
                rights[Int((address - window.lowerBound) / page)] = String(parts[1])
            }
        }
        return rights
    }

    private static func hostRights(in window: Range<UInt64>) -> [String] { rights(hostText(), in: window) }

    private static func hostText() -> String {
        let file = open("/proc/self/maps", O_RDONLY)
        defer { close(file) }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = read(file, &buffer, buffer.count), count > 0 { text += buffer.prefix(count) }
        return String(decoding: text, as: UTF8.self)
    }

    private struct Step {
        var call: SystemCall
        var arguments: [UInt64]
    }

    /// One call on the window. What would reach beyond it is left out: it is the test process's own memory.
    private static func step(_ random: inout SplitMix64, _ base: UInt64) -> Step {
        func below(_ bound: UInt64) -> UInt64 { random.next() % bound }
        func oneIn(_ chances: UInt64) -> Bool { below(chances) == 0 }
        let first = below(pages)
        let length = (1 + below(min(pages - first, oneIn(3) ? pages : 6))) * page
        let start = base + first * page + (oneIn(30) ? 1 + below(4095) : 0)
        let bytes = oneIn(30) ? 0 : oneIn(20) ? length - 1 - below(4095) : length
        switch below(12) {
        case 0...3:
            let isFile = oneIn(3)
            let kind: UInt64 = isFile && oneIn(4) ? 1 : oneIn(30) ? 0 : 2
            let rights = kind == 1 ? below(2) : below(4)
            let flags = kind | (isFile ? 0 : 0x20) | (oneIn(8) ? 0x10_0000 : 0x10) | (oneIn(8) ? 0x4000 : 0)
            return Step(
                call: .mmap,
                arguments: [start, bytes, rights, flags, isFile ? 3 : .max, isFile ? below(14) * page : 0])
        case 4, 5: return Step(call: .munmap, arguments: [start, bytes])
        case 6, 7: return Step(call: .mprotect, arguments: [start, bytes, oneIn(20) ? 16 : below(4)])
        case 8, 9:
            let target = base + below(pages) * page
            let new = (1 + below(min(8, pages - (target - base) / page))) * page
            // Without MREMAP_FIXED the kernel would choose a place; growing in place is the only way then.
            let isFixed = !oneIn(3)
            let grown = min(new, (pages - first) * page)
            return Step(
                call: .mremap,
                // An old size of 0 asks for a second mapping of shared pages, which is refused here.
                arguments: [start, max(bytes, 1), isFixed ? new : grown, isFixed ? 3 : oneIn(20) ? 2 : 0, target])
        case 10: return Step(call: .madvise, arguments: [start, bytes, [0, 3, 4, 4, 4, 9, 77][Int(below(7))]])
        default: return Step(call: .msync, arguments: [start, bytes, below(9)])
        }
    }

    /// Whether only the newest kernels can do this: moving several regions by one call.
    private static func isNews(_ step: Step, _ program: ProcessMemory) -> Bool {
        guard step.call == .mremap, step.arguments[3] == 3 else { return false }
        let old = step.arguments[0]..<step.arguments[0] + step.arguments[1]
        let regions = program.space.regions.indices(overlapping: old)
        guard let first = regions.first else { return false }
        return regions.count > 1 || program.space.regions[first].clipped(to: old).addresses != old
    }

    /// Whether the kernel sees several regions where their rights make them one: it does not merge what was moved.
    private static func isSplit(_ step: Step, in window: Range<UInt64>) -> Bool {
        guard step.call == .mremap else { return false }
        let old = step.arguments[0]..<step.arguments[0] + min(step.arguments[1], step.arguments[2])
        return hostText().split(separator: "\n").count { line in
            let ends = line.prefix { $0 != " " }.split(separator: "-").compactMap { UInt64($0, radix: 16) }
            return ends.count == 2 && old.overlaps(ends[0]..<ends[1])
        } > 1
    }

    @Test(arguments: UInt64(1)...6) func `calls do what the kernel's do`(seed: UInt64) throws {
        let base: UInt64 = 0x2A00_0000_0000 + seed << 32
        let window = base..<base + Self.pages * Self.page
        let host = HostMemory()
        let program = try ProcessMemory(bytes: 4 << 20)
        try program.open(FileBytes(HostMemory.file))
        var random = SplitMix64(state: seed)
        var (failures, successes) = (0, 0)
        for round in 0..<4000 {
            let step = Self.step(&random, base)
            guard !Self.isNews(step, program) else { continue }
            let theirs = host.call(step.call, step.arguments)
            guard theirs != -Int64(EFAULT) || !Self.isSplit(step, in: window) else { continue }
            let all = step.arguments + [UInt64](repeating: 0, count: 6 - step.arguments.count)
            let ours = program.call(step.call, all[0], all[1], all[2], all[3], all[4], all[5])
            guard ours == theirs else {
                Issue.record("round \(round): \(step) gave \(ours), the kernel \(theirs)")
                break
            }
            if ours < 0 { failures += 1 } else { successes += 1 }
            for _ in 0..<3 {
                let address = base + random.next() % (Self.pages * Self.page - 64)
                if random.next() % 2 == 0 {
                    let bytes = (0..<1 + Int(random.next() % 64)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                    let done = host.write(bytes, address)
                    #expect(((try? program.write(bytes, address)) != nil) == done, "round \(round)")
                    // The kernel writes what it can before it fails: what it wrote is taken over, so that both go on alike.
                    if !done { Self.takeOver(address, bytes.count, host, program) }
                } else {
                    let count = 1 + Int(random.next() % 64)
                    #expect(host.read(address, count) == (try? program.read(address, count)), "round \(round)")
                }
            }
            if round % 50 == 0 {
                #expect(Self.hostRights(in: window) == Self.rights(program.maps.joined(separator: "\n"), in: window))
                program.audit("round \(round)")
            }
        }
        Self.compareAll(window, host, program)
        program.audit()
        #expect(failures > 500 && successes > 1500)
        _ = host.call(.munmap, [base, Self.pages * Self.page])
        #expect(program.call(.munmap, base, Self.pages * Self.page) == 0)
        #expect(program.space.frames.used == program.space.frames.tables)
    }

    /// A write of the kernel's that failed half-way has changed the first of two pages.
    private static func takeOver(_ address: UInt64, _ count: Int, _ host: HostMemory, _ program: ProcessMemory) {
        for byte in address..<address + UInt64(count) {
            guard let value = host.read(byte, 1) else { continue }
            try? program.write(value, byte)
        }
    }

    private static func compareAll(_ window: Range<UInt64>, _ host: HostMemory, _ program: ProcessMemory) {
        for address in stride(from: window.lowerBound, to: window.upperBound, by: Int(page)) {
            #expect(host.read(address, Int(page)) == (try? program.read(address, Int(page))), "at \(address)")
        }
    }

    // MARK: Without room

    /// What a page should hold, by its address; rights are the kernel campaign's business.
    @Test(arguments: UInt64(1)...4) func `memory that is used up loses and mixes up nothing`(seed: UInt64) throws {
        let program = try ProcessMemory(bytes: 1 << 20)
        var random = SplitMix64(state: seed)
        func below(_ bound: UInt64) -> UInt64 { random.next() % bound }
        var model: [UInt64: UInt64] = [:]
        let base: UInt64 = 0x3000_0000_0000
        let pages: UInt64 = 2048
        var refusals = 0
        for round in 0..<6000 {
            let start = base + below(pages) * Self.page
            let bytes = min(1 + below(below(4) == 0 ? 200 : 16), pages - (start - base) / Self.page) * Self.page
            let range = start..<start + bytes
            switch below(8) {
            case 0, 1:
                let reserves = below(3) > 0
                if program.map(bytes, at: start, flags: reserves ? 0 : 0x4000) > 0 {
                    for address in stride(from: start, to: start + bytes, by: 4096) { model[address] = 0 }
                } else {
                    refusals += 1
                }
            case 2:
                if program.call(.munmap, start, bytes) == 0 { model = model.filter { !range.contains($0.key) } }
            case 3:
                if program.call(.madvise, start, bytes, 4) == 0 || true {
                    for address in model.keys where range.contains(address) { model[address] = 0 }
                }
            case 4:
                let target = base + below(pages - 16) * Self.page
                let size = min(bytes, 16 * Self.page)
                let covered = stride(from: start, to: start + size, by: 4096).allSatisfy { model[$0] != nil }
                let result = program.call(.mremap, start, size, size, 3, target)
                if result > 0 {
                    #expect(covered)
                    let moved = stride(from: UInt64(0), to: size, by: 4096).map { model[start + $0] }
                    for offset in stride(from: UInt64(0), to: size, by: 4096) { model[start + offset] = nil }
                    for (index, value) in moved.enumerated() { model[target + UInt64(index) * 4096] = value }
                }
            default:
                guard let value = model[start] else {
                    #expect((try? program.space.readWord(start, program.memory)) == nil)
                    continue
                }
                let word = random.next() | 1
                if (try? program.space.writeWord(word, at: start + 8, program.memory)) != nil {
                    #expect(try program.space.readWord(start + 8, program.memory) == word)
                    if value != 0 { #expect(try program.space.readWord(start, program.memory) == value, "\(round)") }
                    try program.space.writeWord(start ^ word, at: start, program.memory)
                    model[start] = start ^ word
                } else {
                    refusals += 1
                }
            }
            if round % 200 == 0 { program.audit("round \(round)") }
        }
        for (address, value) in model where value != 0 {
            #expect(try program.space.readWord(address, program.memory) == value)
        }
        program.audit()
        #expect(refusals > 100 && program.space.refusals > 0)
        #expect(program.call(.munmap, base, pages * Self.page) == 0)
        #expect(program.space.frames.used == program.space.frames.tables)
    }
}
