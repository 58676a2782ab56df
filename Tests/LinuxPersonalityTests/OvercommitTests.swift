// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import LinuxPersonality

private let page: UInt64 = 4096
private let mebi: UInt64 = 1 << 20

/// What a program may ask for beyond what there is, and what it is told.
@Suite struct OvercommitTests {
    private func address(_ value: Int64) -> UInt64 { UInt64(bitPattern: value) }

    private func touch(_ program: ProcessMemory, _ start: UInt64, _ bytes: UInt64) -> Bool {
        stride(from: start, to: start + bytes, by: Int(page)).allSatisfy { program.fault($0, .write) == .mapped }
    }

    @Test(arguments: [UInt64(132 << 10), 1 << 20, 24 << 20])
    func `a program that fills all memory is told so before it dies`(piece: UInt64) throws {
        let program = try ProcessMemory(bytes: 64 << 20)
        var filled: UInt64 = 0
        while true {
            let start = program.map(piece)
            guard start > 0 else {
                #expect(start == -12)
                break
            }
            #expect(touch(program, address(start), piece), "granted and then not there, after \(filled)")
            filled += piece
            try #require(filled < 64 << 20)
        }
        #expect(program.space.refusals > 0)
        // Nearly all of it was had: what is left is less than a piece and the tables for it.
        #expect(UInt64(program.space.frames.free) * page < piece + 16 * page, "\(filled)")
        program.audit()
    }

    @Test func `a heap that grows by brk ends with the memory`() throws {
        let program = try ProcessMemory(bytes: 16 << 20)
        program.space.setProgramBreak(0x60_0000)
        var end = address(program.call(.brk, 0))
        while true {
            let next = address(program.call(.brk, end + 132 << 10))
            if next == end { break }
            #expect(touch(program, end, 132 << 10))
            end = next
        }
        #expect(end > 0x60_0000 + 14 * mebi)
        program.audit()
    }

    @Test func `a block that grows and grows is refused in the end, wherever it lies`() throws {
        for isInTheWay in [false, true] {
            let program = try ProcessMemory(bytes: 32 << 20)
            var (start, bytes) = (address(program.map(mebi, at: 0x1000_0000_0000)), mebi)
            while true {
                #expect(touch(program, start, bytes))
                if isInTheWay { _ = program.map(page, at: start + bytes, 0) }
                let next = program.call(.mremap, start, bytes, bytes + mebi, 1)
                if next < 0 {
                    #expect(next == -12)
                    break
                }
                (start, bytes) = (address(next), bytes + mebi)
            }
            #expect(bytes >= 28 * mebi, "\(bytes)")
            program.audit()
        }
    }

    @Test func `a hundred threads' stacks fit into little memory`() throws {
        let program = try ProcessMemory(bytes: 32 << 20)
        for _ in 0..<100 {
            // As glibc makes them: without rights, MAP_STACK, then all but the guard page writable.
            let start = address(program.map(8 * mebi, 0, flags: 0x2_0000))
            #expect(program.call(.mprotect, start + page, 8 * mebi - page, 3) == 0)
            #expect(touch(program, start + 8 * mebi - 64 << 10, 64 << 10))
        }
        #expect(program.space.frames.used < 100 * 16 * 2)
        program.audit()
    }

    @Test func `a runtime that reserves and commits more than there is lives by what it touches`() throws {
        let program = try ProcessMemory(bytes: 32 << 20)
        let start = address(program.map(1 << 36, 0))
        // As Go does, 64 MiB at a time, in place of the reservation.
        for index in 0..<4 { #expect(program.map(64 * mebi, at: start + UInt64(index) * 64 * mebi) > 0) }
        #expect(touch(program, start, 2 * mebi) && touch(program, start + 130 * mebi, 2 * mebi))
        // The same asked for without a reservation is more than there is.
        #expect(program.map(64 * mebi) == -12)
        #expect(program.call(.mprotect, start + 1 << 30, 64 * mebi, 3) == 0)
        program.audit()
    }

    @Test func `memory that was granted and never touched does not keep others from theirs`() throws {
        let program = try ProcessMemory(bytes: 32 << 20)
        // Untouched heaps: frames are set aside for some, and for the others not any more.
        var heaps: [UInt64] = []
        for _ in 0..<24 { heaps.append(address(program.map(3 * mebi))) }
        #expect(heaps.allSatisfy { Int64(bitPattern: $0) > 0 })
        #expect(program.space.frames.promised > 0)
        let other = address(program.map(24 * mebi, flags: 0x4000))
        #expect(touch(program, other, 24 * mebi))
        #expect(program.space.frames.promised < 8 << 8)
        program.audit()
        // And who touches what is not there any more finds out.
        let isThere = heaps.map { touch(program, $0, 3 * mebi) }
        #expect(isThere.contains(false))
        program.audit()
        for heap in heaps { #expect(program.call(.munmap, heap, 3 * mebi) == 0) }
        #expect(program.call(.munmap, other, 24 * mebi) == 0)
        #expect(program.space.frames.used == program.space.frames.tables)
    }

    @Test func `pages that are asked for at once may take what was set aside, in the middle of it`() throws {
        let program = try ProcessMemory(bytes: 32 << 20)
        for _ in 0..<5 { _ = program.map(1000 * page) }
        // Frames are set aside for four of them, which are one region; the fifth is another one below.
        #expect(program.space.regions.count == 2 && program.space.frames.promised == 4000)
        let start = program.space.regions[0].start
        let other = address(program.map(4000 * page, flags: 0x4000))
        #expect(touch(program, other, 4000 * page))
        #expect(program.call(.madvise, start, 5000 * page, 23) == -12)
        #expect(program.space.regions.count == 2 && program.space.frames.promised == 0)
        program.audit()
    }
}
