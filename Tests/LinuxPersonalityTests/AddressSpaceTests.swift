// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import KVM
import SeededRandom
import Testing

@testable import LinuxPersonality

private let page: UInt64 = 4096

private func address(_ value: Int64) -> UInt64 { UInt64(bitPattern: value) }

@Suite struct AddressSpaceTests {
    // MARK: Mapping and faults

    @Test func `memory is zeros where nothing was written, and what was written where it was`() throws {
        let program = try ProcessMemory()
        let start = address(program.map(64 << 10))
        #expect(start == AddressLayout.mmapTop - 64 << 10)
        #expect(try program.read(start, 64 << 10) == [UInt8](repeating: 0, count: 64 << 10))
        let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        try program.write(bytes, start + 4000)
        #expect(try program.read(start + 4000, 10_000) == bytes)
        #expect(try program.read(start + 3999, 3) == [0, 0, 7])
        program.audit()
    }

    @Test func `reservations of any size cost nothing`() throws {
        let program = try ProcessMemory(bytes: 1 << 20)
        let used = program.space.frames.used
        for _ in 0..<100 { #expect(program.map(1 << 40, 0) > 0) }
        #expect(program.map(64 << 40, 0, flags: 0) < 0)
        #expect(program.space.frames.used == used)
        #expect(program.space.regions.count == 1)
        let start = program.space.regions[0].start
        #expect(program.call(.munmap, start, 100 << 40) == 0)
        #expect(program.space.regions.count == 0)
        #expect(program.space.counts.hostCalls == 0)
    }

    @Test func `writable memory is refused beyond the frames there are, and found where granted`() throws {
        let program = try ProcessMemory(bytes: 4 << 20)
        let limit = program.space.frames.available
        #expect(program.map(UInt64(limit + 1) * page) == -12)
        #expect(program.space.refusals == 1)
        // Two lowest tables and the two above them.
        let start = address(program.map(UInt64(limit - 8) * page))
        for index in 0..<UInt64(limit - 8) {
            #expect(program.fault(start + index * page, .write) == .mapped)
        }
        try program.write([UInt8](repeating: 9, count: (limit - 8) * 4096), start)
        program.audit()
        #expect(program.call(.munmap, start, UInt64(limit - 8) * page) == 0)
        program.audit()
        #expect(program.space.frames.used == program.space.frames.tables)
        let again = address(program.map(UInt64(limit - 8) * page))
        #expect(try program.read(again, (limit - 8) * 4096).allSatisfy { $0 == 0 })
    }

    @Test func `page tables take an eighth of the frames at most`() throws {
        let program = try ProcessMemory(bytes: 4 << 20)
        let limit = program.space.frames.tableLimit
        var refused = false
        for index in 0..<UInt64(1000) where !refused {
            refused = program.map(page, at: 0x1000_0000_0000 + index << 21) == -12
        }
        #expect(refused)
        #expect(program.space.frames.tables == limit)
        program.audit()
    }

    @Test func `an access that its region does not allow is a violation`() throws {
        let program = try ProcessMemory()
        let start = address(program.map(3 * page, 1))
        #expect(program.fault(start) == .mapped)
        #expect(program.fault(start, .write) == .violation(.forbidden))
        #expect(program.fault(start, .execute) == .violation(.forbidden))
        #expect(program.fault(start + 3 * page) == .violation(.notMapped))
        #expect(program.fault(0) == .violation(.notMapped))
        #expect(program.fault(.max) == .violation(.notMapped))
        #expect(program.fault(AddressLayout.systemArea.lowerBound) == .violation(.notMapped))
        // As on x86, what may be written may be read.
        let written = address(program.map(page, 2))
        #expect(program.fault(written) == .mapped)
        #expect(program.fault(written, .execute) == .violation(.forbidden))
        #expect(throws: Errno.efault) { try program.write([1], start) }
        #expect(throws: Errno.efault) { try program.write([1, 2], start &+ 3 * page &- 1) }
        program.audit()
    }

    @Test func `copies that touch what may not be touched change nothing`() throws {
        let program = try ProcessMemory()
        let start = address(program.map(4 * page))
        #expect(program.call(.mprotect, start + 3 * page, page, 1) == 0)
        #expect(throws: Errno.efault) { try program.write([UInt8](repeating: 1, count: 4 * 4096), start) }
        #expect(try program.read(start, 4 * 4096).allSatisfy { $0 == 0 })
        #expect(program.space.accessibleCount(start + 5, count: 1 << 30, for: .write, program.memory) == 3 * 4096 - 5)
        for count in [1 << 40, Int.max, -1] {
            #expect(throws: Errno.efault) { try program.read(start, count) }
        }
        #expect(try program.read(.max, 0) == [])
    }

    @Test func `a string ends at its zero, at the limit, or where memory does`() throws {
        let program = try ProcessMemory()
        let start = address(program.map(2 * page))
        let text = [UInt8](repeating: 65, count: 5000)
        try program.write(text, start + 2 * page - 5000)
        let first = start + 2 * page - 5000
        #expect(throws: Errno.efault) { try program.space.cString(at: first, limit: 9000, program.memory) }
        #expect(throws: Errno.enametoolong) { try program.space.cString(at: first, limit: 4999, program.memory) }
        try program.write([0], start + 2 * page - 1)
        #expect(try program.space.cString(at: first, limit: 4999, program.memory) == text.dropLast())
        #expect(throws: Errno.enametoolong) { try program.space.cString(at: first, limit: 4998, program.memory) }
        #expect(try program.space.cString(at: first - 1, limit: 0, program.memory) == [])
        #expect(throws: Errno.efault) { try program.space.cString(at: .max, limit: 9, program.memory) }
    }

    @Test func `words are little-endian, wherever they lie`() throws {
        let program = try ProcessMemory()
        let start = address(program.map(2 * page))
        for offset in [0, 8, 4092, 4089, 8184] {
            try program.space.writeWord(0x1122_3344_5566_7788, at: start + UInt64(offset), program.memory)
            #expect(try program.space.readWord(start + UInt64(offset), program.memory) == 0x1122_3344_5566_7788)
            #expect(try program.space.readWord(start + UInt64(offset), bytes: 4, program.memory) == 0x5566_7788)
            #expect(try program.space.readWord(start + UInt64(offset) + 1, bytes: 2, program.memory) == 0x6677)
        }
        #expect(throws: Errno.efault) { try program.space.readWord(start + 2 * page - 7, program.memory) }
    }

    // MARK: Files

    @Test func `a mapped file's bytes come in, zeros behind its end, and no page beyond`() throws {
        let program = try ProcessMemory()
        let content = (0..<300_123).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        try program.open(FileBytes([9, 9] + content, 2..<300_125))
        let start = address(program.call(.mmap, 0, 512 << 10, 3, 2, 3, 8192))
        let rest = Array(content[8192...])
        #expect(try program.read(start, rest.count) == rest)
        #expect(program.fault(start + UInt64(rest.count)) == .mapped)
        #expect(try program.read(start + UInt64(rest.count), 4096 - rest.count % 4096).allSatisfy { $0 == 0 })
        let behind = (start + UInt64(rest.count) + 4095) & ~4095
        #expect(program.fault(behind) == .violation(.beyondFile))
        #expect(throws: Errno.efault) { try program.read(behind - 1, 2) }
        try program.write([1, 2, 3], start)
        #expect(try program.read(start, 4) == [1, 2, 3, rest[3]])
        #expect(program.call(.madvise, start, 4096, 4) == 0)
        #expect(try program.read(start, 4) == Array(rest.prefix(4)))
        program.audit()
    }

    @Test func `a shared mapping of a file can be read, never written`() throws {
        let program = try ProcessMemory()
        try program.open(FileBytes([UInt8](repeating: 5, count: 100)))
        #expect(program.call(.mmap, 0, 4096, 3, 1, 3, 0) == -19)
        let start = address(program.call(.mmap, 0, 4096, 1, 1, 3, 0))
        #expect(try program.read(start, 2) == [5, 5])
        #expect(program.call(.mprotect, start, 4096, 3) == -13)
        #expect(program.call(.mmap, 0, 4096, 1, 2, 4, 0) == -9)
    }

    @Test func `what is mapped of a file that is written is a copy, charged as memory`() throws {
        let program = try ProcessMemory()
        let content = (0..<9000).map { UInt8(truncatingIfNeeded: $0) }
        let available = program.space.frames.available
        let start = try program.space.map(
            MapRequest(bytes: 12_288, protection: []),
            holding: { content.dropFirst($0).prefix(min($1, 1000)) }, program.memory)
        #expect(program.space.frames.available < available - 2)
        #expect(program.call(.mprotect, start, 12_288, 1) == 0)
        #expect(try program.read(start, 12_288) == content + [UInt8](repeating: 0, count: 3288))
        program.audit()
    }

    // MARK: brk and the stack

    @Test func `brk moves the end of the heap, as far as nothing is in its way`() throws {
        let program = try ProcessMemory()
        program.space.setProgramBreak(0x60_0010)
        let start = address(program.call(.brk, 0))
        #expect(start == 0x60_1000)
        #expect(program.call(.brk, start + 10_000) == Int64(start) + 10_000)
        try program.write([UInt8](repeating: 7, count: 10_000), start)
        #expect(program.call(.brk, start + 5000) == Int64(start) + 5000)
        #expect(program.call(.brk, start + 10_000) == Int64(start) + 10_000)
        #expect(try program.read(start + 8192, 1000).allSatisfy { $0 == 0 })
        #expect(program.call(.brk, start - 1) == Int64(start) + 10_000)
        #expect(program.call(.brk, .max) == Int64(start) + 10_000)
        #expect(program.map(page, at: start + 0x10000) > 0)
        #expect(program.call(.brk, start + 0x20000) == Int64(start) + 10_000)
        #expect(program.maps[0].hasSuffix("[heap]"))
        program.audit()
    }

    @Test func `the stack grows to its limit, and keeps away from what is below`() throws {
        let program = try ProcessMemory(bytes: 32 << 20)
        let top = try program.space.mapStack(program.memory)
        #expect(top == AddressLayout.stackTop)
        let lowest = top - AddressLayout.stackBytes
        #expect(program.fault(top - 8, .write) == .mapped)
        #expect(program.fault(top - 1 << 20, .write) == .mapped)
        #expect(program.space.regions[0].start <= top - 1 << 20)
        #expect(program.fault(lowest - 1, .write) == .violation(.notMapped))
        #expect(program.fault(lowest, .write) == .mapped)
        #expect(program.maps[0].hasSuffix("[stack]"))
        program.audit()

        let other = try ProcessMemory(bytes: 32 << 20)
        _ = try other.space.mapStack(other.memory)
        #expect(other.map(page, at: top - 4 << 20) > 0)
        #expect(other.fault(top - 4 << 20 + AddressLayout.stackGap, .write) == .violation(.notMapped))
        #expect(other.fault(top - 4 << 20 + AddressLayout.stackGap + page, .write) == .mapped)
        other.audit()
    }

    // MARK: mremap

    @Test func `mremap moves pages without copying them`() throws {
        let program = try ProcessMemory()
        let start = address(program.map(3 << 20))
        #expect(program.map(page, at: start + 3 << 20) > 0)
        let bytes = (0..<3 << 20).map { UInt8(truncatingIfNeeded: $0 >> 9) }
        try program.write(bytes, start)
        let frame = program.space.tables.entry(of: start, program.memory).frame
        let moved = address(program.call(.mremap, start, 3 << 20, 6 << 20, 1))
        #expect(moved == start - 6 << 20)
        #expect(program.space.tables.entry(of: moved, program.memory).frame == frame)
        #expect(try program.read(moved, 3 << 20) == bytes)
        #expect(program.fault(start) == .violation(.notMapped))
        #expect(program.fault(moved + 6 << 20 - 1, .write) == .mapped)
        program.audit()
        #expect(program.call(.mremap, moved, 6 << 20, 1 << 20) == Int64(moved))
        #expect(try program.read(moved, 1 << 20) == Array(bytes.prefix(1 << 20)))
        program.audit()
    }

    // MARK: Bounds

    @Test func `there are as many regions as there may be, and no more`() throws {
        let program = try ProcessMemory()
        var count = 0
        let base: UInt64 = 0x1000_0000_0000
        while program.map(page, at: base + UInt64(count) * 2 * page, 0) > 0 { count += 1 }
        #expect(count == RegionList.maximumCount)
        #expect(program.space.refusals == 0)
        #expect(program.call(.munmap, base, page) == 0)
        let large = address(program.map(16 * page, at: 0x2000_0000_0000, 0))
        #expect(program.call(.munmap, large + page, page) == -12)
        #expect(program.call(.mprotect, large + page, page, 1) == -12)
        #expect(program.call(.munmap, base, UInt64(count) * 2 * page) == 0)
        #expect(program.space.regions.count == 1)
        program.audit()
    }

    @Test func `neither page 0 nor the system area can be mapped`() throws {
        let program = try ProcessMemory()
        #expect(program.map(page, at: 0x1000) == -1)
        #expect(program.call(.mmap, 0, page, 3, 0x32, .max, 0) == -1)
        for start in [AddressLayout.systemArea.lowerBound, AddressLayout.systemArea.lowerBound - page] {
            #expect(program.map(2 * page, at: start) == -12)
            #expect(program.call(.mmap, start, 2 * page, 3, 0x100022, .max, 0) == -12)
        }
        let hinted = address(program.call(.mmap, AddressLayout.systemArea.lowerBound, page, 3, 0x22, .max, 0))
        #expect(hinted < AddressLayout.mmapTop)
        #expect(program.call(.munmap, AddressLayout.mmapTop, AddressLayout.userEnd - AddressLayout.mmapTop) == 0)
        #expect(program.call(.mprotect, AddressLayout.systemArea.lowerBound, page, 7) == -12)
        #expect(program.call(.mremap, hinted, page, page, 3, AddressLayout.systemArea.lowerBound) == -12)
    }

    @Test func `no argument of any call traps or takes long`() throws {
        let program = try ProcessMemory(bytes: 8 << 20)
        try program.open(FileBytes([UInt8](repeating: 5, count: 100_000)))
        program.space.setProgramBreak(0x60_0000)
        _ = try program.space.mapStack(program.memory)
        let readOnly = address(program.map(page, 1))
        let good = address(program.map(64 * page))
        let odd: [UInt64] = [
            0, 1, 4095, 4096, 8192, 0x1_0000, good, good + 1, good + 64 * page, readOnly, 1 << 21, 1 << 31, 1 << 40,
            AddressLayout.mmapTop, AddressLayout.systemArea.lowerBound, AddressLayout.userEnd - 1,
            AddressLayout.userEnd, 1 << 47, 1 << 63 - 1, 1 << 63, .max - 4096, .max - 4095, .max,
        ]
        var random = SplitMix64(state: 7)
        for round in 0..<30_000 {
            let call = ProcessMemory.calls[Int(random.next() % UInt64(ProcessMemory.calls.count))]
            func any() -> UInt64 { odd[Int(random.next() % UInt64(odd.count))] }
            func small() -> UInt64 { random.next() % 4 == 0 ? any() : random.next() % 64 }
            let flags = random.next() % 2 == 0 ? small() : random.next() & 0x1F_FFFF
            let result = program.call(call, any(), any(), small(), flags, random.next() % 3 == 0 ? any() : 3, any())
            #expect(result != .min)
            if round % 1000 == 0 { program.audit("round \(round)") }
        }
        program.audit()
    }

    // MARK: Text

    @Test func `the map of memory looks as Linux writes it`() throws {
        let program = try ProcessMemory()
        _ = try program.space.mapStack(program.memory)
        _ = try program.space.map(
            MapRequest(
                address: 0x40_0000, bytes: 5000, protection: [.read, .execute], placement: .fixed,
                content: .file(MappedFile(FileBytes([1]), name: Array("/bin/a\nb".utf8)), offset: 4096)),
            program.memory)
        #expect(
            String(decoding: program.space.memoryMap, as: UTF8.self) == """
                00400000-00402000 r-xp 00001000 00:01 0                                  /bin/a?b
                7ffffefc0000-7fffff000000 rw-p 00000000 00:00 0                          [stack]

                """)
    }

    // MARK: Copies of a process

    @Test(.enabled(if: Guest.isPossible, "no usable /dev/kvm"))
    func `a copy of a process goes on from where it was made`() throws {
        let program = try ProcessMemory()
        let start = address(program.map(8 * page))
        try program.write([1, 2, 3], start)
        let content = PristineMemory(of: program.memory)
        let copy = program.process
        try program.write([9, 9, 9], start)
        #expect(program.call(.munmap, start + page, page) == 0)
        let hypervisor = try Hypervisor()
        let machine = try hypervisor.makeVirtualMachine(memoryBytes: 16 << 20)
        try machine.restore(to: content)
        var other = copy
        #expect(try other.space.read(start, count: 3, machine.memory) == [1, 2, 3])
        #expect(try other.space.read(start + page, count: 1, machine.memory) == [0])
    }
}
