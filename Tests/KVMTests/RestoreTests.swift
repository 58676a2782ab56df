// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import KVM

/// A machine in real mode with its code at 0x1000, whose memory is restored between runs.
private final class RestoredMachine {
    let machine: VirtualMachine
    let content: PristineMemory
    private let vcpu: VirtualCPU
    private let thread: VCPUThread
    private let registers: [RegisterName: UInt64]

    init(_ policy: RestorePolicy, _ code: [UInt8], _ registers: [RegisterName: UInt64] = [:]) throws {
        let hypervisor = try Hypervisor()
        machine = try hypervisor.makeVirtualMachine(memoryBytes: 1 << 20, restoring: policy)
        vcpu = try hypervisor.makeVirtualCPU(in: machine)
        thread = try VCPUThread()
        content = PristineMemory(bytes: 1 << 20, pieces: [(address: 0x1000, bytes: code)])
        self.registers = registers
        var start = vcpu.pristine
        (start.system.cs.base, start.system.cs.selector) = (0, 0)
        try vcpu.load(start)
        vcpu.attach()
        try restore()
    }

    deinit { vcpu.detach() }

    func restore() throws { try machine.restore(to: content) }

    /// Runs from the start to HLT; an input port answers 0xA5.
    func run(_ other: [RegisterName: UInt64] = [:]) throws {
        var state = Registers()
        state.rip = 0x1000
        for (name, value) in registers.merging(other, uniquingKeysWith: { $1 }) { state[name] = value }
        try vcpu.setRegisters(state)
        while true {
            switch try vcpu.run() {
            case .halt: return
            case .portIn(let access):
                for index in 0..<access.count { vcpu.setPortValue(0xA5, at: index, of: access) }
            case .portOut: break
            case let other: throw Unexpected(exit: other)
            }
        }
    }

    struct Unexpected: Error { let exit: VMExit }

    func read(_ address: UInt64, _ count: Int) -> [UInt8]? { machine.memory.read(at: address, count: count) }
    func occupied() -> [UInt64] { machine.memory.occupiedPages() }
    func trim(_ bytes: UInt64) throws { try machine.trim(toBytes: bytes) }
    func resident() throws -> UInt64 { try machine.memory.residentBytes() }

    /// How many pages the kernel's log has.
    func logged() throws -> Int {
        try machine.readLog()
        return machine.history.log.count
    }
}

@Suite("Restoring memory", .enabled(if: kvmIsUsable, "no usable /dev/kvm"))
struct RestoreTests {
    static let policies: [RestorePolicy] = [
        .giveBack, .wholeCopy, .stickyLog(patience: 2), .stickyLog(patience: 1000), .clearingLog,
    ]

    /// Writes DL to the first byte of CX pages in a row, from the segment BX on:
    /// again: mov es, bx; mov es:[0], dl; add bx, 0x100; dec cx; jnz again; hlt
    private static let pages = hex("8ec3 2688160000 81c30001 49 75f2 f4")

    @Test(arguments: policies)
    func `what the guest writes is gone, and what it starts from is there`(policy: RestorePolicy) async throws {
        try await onThread {
            // It overwrites its own first bytes too: mov word [0x1000], 0x5A5A; mov byte [0x5FFF], 1; hlt
            let guest = try RestoredMachine(policy, hex("c70600105a5a c606ff5f01 f4"))
            for _ in 0..<40 {
                #expect(guest.occupied() == [1])
                #expect(guest.read(0x1000, 2) == hex("c706"))
                try guest.run()
                #expect(guest.read(0x1000, 2) == hex("5a5a"))
                #expect(guest.occupied() == [1, 5])
                try guest.restore()
            }
        }
    }

    @Test(arguments: policies)
    func `what KVM itself stores for a REP INS is gone`(policy: RestorePolicy) async throws {
        try await onThread {
            // mov di, 0x3FFE; mov cx, 4; mov dx, 0x80; cld; rep insb; hlt
            let guest = try RestoredMachine(policy, hex("bffe3f b90400 ba8000 fc f36c f4"))
            for _ in 0..<20 {
                try guest.run()
                #expect(guest.read(0x3FFE, 4) == hex("a5a5a5a5"))
                try guest.restore()
                #expect(guest.occupied() == [1])
            }
        }
    }

    @Test(arguments: policies)
    func `the clock that the host writes for a guest is gone`(policy: RestorePolicy) async throws {
        try await onThread {
            // MSR_KVM_SYSTEM_TIME_NEW: mov ecx, 0x4b564d01; mov eax, 0x5001; xor edx, edx; wrmsr; out 0x80, al; hlt
            let guest = try RestoredMachine(policy, hex("66b9014d564b 66b801500000 6631d2 0f30 e680 f4"))
            try guest.run()
            #expect(guest.read(0x5000, 32) != [UInt8](repeating: 0, count: 32), "the host wrote no clock")
            try guest.restore()
            #expect(guest.occupied() == [1])
        }
    }

    @Test(arguments: policies)
    func `what the worker writes is gone, to the last byte of a page`(policy: RestorePolicy) async throws {
        try await onThread {
            let guest = try RestoredMachine(policy, [0xF4])
            let other = try RestoredMachine(policy, [0xF4])
            _ = other.machine.memory.write([1], at: 0x9000)
            let shadow = try MemoryShadow(of: other.machine.memory, holding: other.occupied())
            for _ in 0..<20 {
                let wrote = guest.machine.memory.write([1, 2], at: 0x5FFF)
                let set = guest.machine.memory.setWord(.max, at: 0x7FFC)
                shadow.restore([9], in: guest.machine.memory)
                #expect(wrote && set)
                #expect(guest.occupied() == [1, 5, 6, 7, 8, 9])
                try guest.restore()
                #expect(guest.occupied() == [1])
            }
        }
    }

    @Test(arguments: policies)
    func `another content takes the place of the last one`(policy: RestorePolicy) async throws {
        try await onThread {
            let guest = try RestoredMachine(policy, [0xF4])
            let other = PristineMemory(
                bytes: 1 << 20, pieces: [(address: 0x2FFF, bytes: [1, 2]), (address: 0x1800, bytes: [3])])
            for _ in 0..<20 {
                try guest.machine.restore(to: other)
                #expect(guest.occupied() == [1, 2, 3])
                #expect(guest.read(0x1000, 1) == [0])
                #expect(guest.read(0x2FFF, 2) == [1, 2])
                try guest.restore()
                #expect(guest.occupied() == [1])
                #expect(guest.read(0x1000, 0x801) == [0xF4] + [UInt8](repeating: 0, count: 0x800))
            }
        }
    }

    // MARK: The sticky log

    @Test
    func `pages that jobs do not write again leave a sticky log, and are seen when they are`() async throws {
        let capabilities = try Hypervisor().capabilities
        try #require(capabilities[.manualDirtyLog] != nil, "no sticky log here")
        try await onThread {
            let guest = try RestoredMachine(.stickyLog(patience: 20), Self.pages)
            try guest.run([.rbx: 0x1000, .rcx: 100, .rdx: 7])
            #expect(try guest.logged() >= 100)
            var sizes: [Int] = []
            for _ in 0..<3 * MemoryHistory.comparingInterval {
                try guest.restore()
                try guest.run([.rbx: 0x1000, .rcx: 1, .rdx: 7])
                sizes.append(try guest.logged())
            }
            // Once the vain copies of a page are as many as its protection is worth, and not at the first look.
            let interval = MemoryHistory.comparingInterval
            #expect(sizes.prefix(2 * interval - 2).allSatisfy { $0 >= 100 })
            #expect(sizes.suffix(interval).allSatisfy { $0 < 10 })
            try guest.restore()
            try guest.run([.rbx: 0x1000, .rcx: 100, .rdx: 7])
            #expect(guest.occupied().count == 101)
            try guest.restore()
            #expect(guest.occupied() == [1])
        }
    }

    // MARK: Giving back

    @Test(arguments: policies)
    func `what is given back stays given back, and what the content has comes again`(
        policy: RestorePolicy
    ) async throws {
        try await onThread {
            let guest = try RestoredMachine(policy, Self.pages)
            for bytes in [0, 0x1000, 0x5000] as [UInt64] {
                try guest.run([.rbx: 0x1000, .rcx: 100, .rdx: 7])
                try guest.trim(bytes)
                #expect(try guest.resident() <= bytes)
                try guest.restore()
                #expect(guest.occupied() == [1])
                if policy != .wholeCopy {
                    #expect(try guest.resident() <= bytes + 0x1000)
                }
                // A page that went, and is written again, is seen again.
                try guest.run([.rbx: 0x4000, .rcx: 2, .rdx: 7])
                try guest.restore()
                #expect(guest.occupied() == [1])
                #expect(guest.read(0x1000, Self.pages.count) == Self.pages)
            }
        }
    }

    @Test(arguments: policies, [[], .forgottenContent] as [MemoryHistory.Omissions])
    func `an idle machine keeps no large content alive, and forgets none of its pages`(
        policy: RestorePolicy, omitted: MemoryHistory.Omissions
    ) async throws {
        try await onThread {
            let guest = try RestoredMachine(policy, Self.pages)
            let image = [UInt8](repeating: 0x77, count: 100 << 12)
            for kept in [0, 0x4000, 99 << 12] as [UInt64] {
                weak var forgotten: PristineMemory?
                do {
                    let large = PristineMemory(bytes: 1 << 20, pieces: [(address: 0x10000, bytes: image)])
                    try guest.machine.restore(to: large)
                    forgotten = large
                }
                #expect(forgotten != nil, "while it may be asked for again")
                guest.machine.history.omitted = omitted
                try guest.trim(kept)
                #expect(forgotten == nil)
                try guest.restore()
                let hasLeak = guest.occupied() != [1]
                let canLeak = omitted == .forgottenContent && kept > 0 && policy.needsLog
                #expect(hasLeak == canLeak, "\(policy), \(kept) bytes kept")
                if hasLeak { return }
                try guest.run([.rbx: 0x9000, .rcx: 5, .rdx: 7])
                try guest.restore()
                #expect(guest.occupied() == [1])
            }
        }
    }

    @Test(arguments: policies)
    func `too much memory is given back, and not too much is kept`(policy: RestorePolicy) async throws {
        try await onThread {
            let guest = try RestoredMachine(policy, Self.pages)
            try guest.run([.rbx: 0x1000, .rcx: 100, .rdx: 7])
            let before = try guest.resident()
            try guest.machine.trim(toBytes: 0x2000, ifOver: 1 << 20)
            #expect(try guest.resident() == before)
            try guest.machine.trim(toBytes: 0x2000, ifOver: 99 << 12)
            #expect(try guest.resident() <= 0x2000)
            try guest.restore()
            #expect(guest.occupied() == [1])
        }
    }
}

@Suite("Sets of pages")
struct PageSetTests {
    @Test(arguments: [0..<1, 0..<64, 63..<65, 1..<63, 64..<128, 5..<199, 199..<200, 0..<200, 7..<7])
    func `a range goes in as a whole and no more`(range: Range<Int>) {
        let set = PageSet(pages: 200)
        set.insert(range)
        let found = (0..<200).filter { set.contains($0) }
        #expect(found == Array(range))
        let (count, run, gap) = (set.count, set.nextRun(from: 0), set.nextGap(from: 0))
        #expect(count == range.count)
        #expect(run == (range.isEmpty ? nil : range))
        let firstGap = range.isEmpty ? 0..<200 : range.lowerBound > 0 ? 0..<range.lowerBound : range.upperBound..<200
        #expect(gap == (firstGap.isEmpty ? nil : firstGap))
    }

    @Test
    func `sets are joined and taken from each other`() {
        let (one, other) = (Set(stride(from: 0, to: 300, by: 7)), Set(stride(from: 0, to: 300, by: 5)))
        let set = PageSet(pages: 300)
        let second = PageSet(pages: 300)
        for page in one { set.insert(page) }
        for page in other { second.insert(page) }
        set.formUnion(second)
        let joined = (0..<300).filter { set.contains($0) }
        #expect(Set(joined) == one.union(other))
        set.subtract(second)
        let rest = (0..<300).filter { set.contains($0) }
        #expect(Set(rest) == one.subtracting(other))
        set.removeAll()
        let count = set.count
        #expect(count == 0)
    }
}

@Suite("Pristine memory")
struct PristineMemoryTests {
    /// All of it, from its parts.
    private func bytes(_ memory: PristineMemory, in pages: Range<Int>) -> [UInt8] {
        var all: [UInt8] = []
        memory.forEachPart(of: pages) { part, bytes in
            let count = part.count * 4096
            guard let bytes else { return all += [UInt8](repeating: 0, count: count) }
            all += Array(UnsafeRawBufferPointer(start: bytes, count: count))
        }
        return all
    }

    @Test
    func `pieces lie where they were put, wherever one begins to look`() {
        let pieces: [(address: UInt64, bytes: [UInt8])] = [
            (0x5800, [UInt8](repeating: 5, count: 0x2900)), (0, [1]), (0x1FFF, [2, 3]), (0x5700, [4]), (0xFFFF, [6]),
            (0x9000, []), (0x8100, [7]),
        ]
        let memory = PristineMemory(bytes: 0x1_0000, pieces: pieces)
        var flat = [UInt8](repeating: 0, count: 0x1_0000)
        for piece in pieces {
            flat.replaceSubrange(Int(piece.address)..<Int(piece.address) + piece.bytes.count, with: piece.bytes)
        }
        for first in 0..<16 {
            for end in (first + 1)...16 {
                #expect(bytes(memory, in: first..<end) == Array(flat[first * 4096..<end * 4096]))
            }
        }
        #expect(memory.stretches.flatMap { Array($0.pages) } == [0, 1, 2, 5, 6, 7, 8, 15])
    }

    @Test
    func `whole pages of an image are not stored twice`() throws {
        let image = [UInt8](repeating: 9, count: 3 << 12)
        for (address, mixed) in [(0x1000, 0), (0x1001, 2)] as [(UInt64, Int)] {
            let memory = PristineMemory(bytes: 1 << 20, pieces: [(address: address, bytes: image)])
            #expect(memory.storedBytes == UInt64(image.count + mixed << 12))
            let whole = try #require(memory.stretches.first { $0.source == 0 })
            var source: UnsafeRawPointer?
            memory.forEachPart(of: whole.pages) { _, bytes in source = bytes }
            image.withUnsafeBytes { #expect(source == $0.baseAddress.map { $0 + whole.offset }) }
        }
    }

    @Test(.enabled(if: kvmIsUsable, "no usable /dev/kvm"))
    func `what a machine holds can be another's beginning`() throws {
        let hypervisor = try Hypervisor()
        let one = try hypervisor.makeVirtualMachine(memoryBytes: 40 << 20)
        let empty = PristineMemory(of: one.memory)
        #expect(empty.stretches.isEmpty && empty.storedBytes == 0)
        let places: [UInt64] = [0, 0x1FFF, 0x2000, 0x3800, 16 << 20, (40 << 20) - 1]
        for (index, place) in places.enumerated() { _ = one.memory.write([UInt8(index + 1)], at: place) }
        let content = PristineMemory(of: one.memory)
        #expect(content.storedBytes == 6 << 12)
        let other = try hypervisor.makeVirtualMachine(memoryBytes: 40 << 20)
        try other.restore(to: content)
        let occupied = other.memory.occupiedPages()
        #expect(occupied == [0, 1, 2, 3, 4096, 10_239])
        for (index, place) in places.enumerated() {
            let byte = other.memory.byte(at: place)
            #expect(byte == UInt8(index + 1))
        }
    }
}

@Suite("What restoring costs")
struct RestoreCostsTests {
    @Test
    func `the policy follows what was measured`() {
        let shadowed = RestoreCosts(hasStickyLog: true, pageCopy: 100, logReading: 1500, pageProtection: 2600)
        #expect(shadowed.policy(memoryBytes: 64 << 12) == .stickyLog(patience: 26))
        #expect(shadowed.policy(memoryBytes: 1 << 30) == .stickyLog(patience: 26))
        // Up to 23 pages the whole costs no more than the log and eight pages.
        #expect(shadowed.policy(memoryBytes: 23 << 12) == .wholeCopy)
        #expect(shadowed.policy(memoryBytes: 24 << 12) == .stickyLog(patience: 26))
        let old = RestoreCosts(hasStickyLog: false, pageCopy: 100, logReading: 1500, pageProtection: 2600)
        #expect(old.policy(memoryBytes: 1 << 20) == .clearingLog)
        #expect(old.policy(memoryBytes: 231 << 12) == .wholeCopy)
        let slow = RestoreCosts(hasStickyLog: true, pageCopy: 100, logReading: 1_000_000, pageProtection: 2600)
        #expect(slow.policy(memoryBytes: 16 << 20) == .wholeCopy)
    }

    @Test
    func `a measurement that makes no sense does no great harm`() {
        for (copy, protection) in [(0, 0), (1, UInt64.max), (UInt64.max / 16, 0)] as [(UInt64, UInt64)] {
            let costs = RestoreCosts(hasStickyLog: true, pageCopy: copy, logReading: 0, pageProtection: protection)
            guard case .stickyLog(let patience) = costs.policy(memoryBytes: 1 << 30) else {
                Issue.record("a gigabyte would be copied as a whole")
                continue
            }
            #expect((2...256).contains(patience))
        }
    }
}
