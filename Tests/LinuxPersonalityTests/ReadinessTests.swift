// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import LinuxPersonality

@Suite struct ReadinessTests {
    @Test func `poll waits until its deadline, which counts from the call's beginning`() throws {
        var caller = try Caller()
        caller.process.callStarted = 1_000_000
        caller.process.moment.monotonic = 3_000_000
        let record: [UInt8] = [0, 0, 0, 0, 1, 0, 0, 0]
        _ = try caller.call(.poll, .bytes(record), .number(1), .number(5))
        let wait = caller.waited
        #expect(wait == Wait(events: [.standardInput, .signal], deadline: 6_000_000))
        caller.process.hasTimedOut = true
        let over = try caller.call(.poll, .bytes(record), .number(1), .number(5)).value
        #expect(over == 0)
        caller.process.standardInput.append([1])
        let ready = try caller.call(.poll, .bytes(record), .number(1), .number(5)).value
        #expect(ready == 1)
        let unknown = try caller.call(.poll, .bytes([9, 0, 0, 0, 1, 0, 0, 0]), .number(1), .number(5)).value
        let events = try caller.bytes(at: 1 << 16, count: 8)
        #expect(unknown == 1 && events == [9, 0, 0, 0, 1, 0, 0x20, 0])
    }

    @Test func `an event counter counts, waits at zero and wakes who watches it`() throws {
        var caller = try Caller()
        let counter = try caller.call(.eventfd2, .number(0), .number(0)).value
        _ = try caller.call(.read, .number(counter), .room(8), .number(8))
        let waited = caller.waited?.events
        let wrote = try caller.call(.write, .number(counter), .bytes([5, 0, 0, 0, 0, 0, 0, 0]), .number(8)).value
        let raised = caller.process.files.takeRaised()
        #expect(wrote == 8)
        #expect(waited?.intersection(raised).isEmpty == false)
        let read = try caller.call(.read, .number(counter), .room(8), .number(8))
        #expect(read.rooms[0] == [5, 0, 0, 0, 0, 0, 0, 0])
        let most = [UInt8](repeating: 0xFF, count: 8)
        let refused = try caller.call(.write, .number(counter), .bytes(most), .number(8)).value
        #expect(refused == -22)
    }

    @Test(arguments: [false, true])
    func `epoll reports levels again and edges once`(edge: Bool) throws {
        var caller = try Caller()
        _ = try caller.call(.pipe2, .room(8), .number(0o4000))
        let epoll = try caller.call(.epollCreate1, .number(0)).value
        let event: [UInt8] = [1, 0, 0, edge ? 0x80 : 0, 7, 0, 0, 0, 0, 0, 0, 0]
        let added = try caller.call(.epollCtl, .number(epoll), .number(1), .number(3), .bytes(event)).value
        let twice = try caller.call(.epollCtl, .number(epoll), .number(1), .number(3), .bytes(event)).value
        let none = try caller.call(.epollWait, .number(epoll), .room(24), .number(2), .number(0)).value
        #expect([added, twice, none] == [0, -17, 0])
        _ = try caller.call(.write, .number(4), .bytes([1]), .number(1))
        let first = try caller.call(.epollWait, .number(epoll), .room(24), .number(2), .number(0))
        #expect(first.value == 1 && Array(first.rooms[0].prefix(5)) == [1, 0, 0, 0, 7])
        let again = try caller.call(.epollWait, .number(epoll), .room(24), .number(2), .number(0)).value
        #expect(again == (edge ? 0 : 1))
        _ = try caller.call(.write, .number(4), .bytes([1]), .number(1))
        let more = try caller.call(.epollWait, .number(epoll), .room(24), .number(2), .number(0)).value
        #expect(more == 1)
        _ = try caller.call(.close, .number(3))
        let closed = try caller.call(.epollWait, .number(epoll), .room(24), .number(2), .number(0)).value
        #expect(closed == 0)
    }

    @Test func `select marks what is ready`() throws {
        var caller = try Caller()
        let sets: [UInt8] = [3, 0, 0, 0, 0, 0, 0, 0]
        let value = try caller.call(.select, .number(2), .bytes(sets), .bytes(sets), .number(0), .number(0)).value
        // Standard input has nothing; input and output of which one can be written.
        let (read, written) = (try caller.bytes(at: 1 << 16, count: 1), try caller.bytes(at: 1 << 16 + 64, count: 1))
        #expect(value == 1 && read == [0] && written == [2])
    }

    @Test func `memory files, times and space are there`() throws {
        var caller = try Caller()
        let file = try caller.call(.memfdCreate, .text("m"), .number(0)).value
        let wrote = try caller.call(.write, .number(file), .bytes([1, 2, 3]), .number(3)).value
        let used = caller.process.files.tree.usedBytes
        #expect(wrote == 3 && used == 3 + OverlayTree.inodeBytes)
        let closed = try caller.call(.close, .number(file)).value
        let left = caller.process.files.tree.usedBytes
        #expect(closed == 0 && left == 0)
        let times = [UInt8](repeating: 1, count: 8) + [UInt8](repeating: 0, count: 24)
        _ = try caller.call(.creat, .text("/t"), .number(0o644))
        let set = try caller.call(.utimensat, .number(-100), .text("/t"), .bytes(times), .number(0)).value
        let stat = try caller.call(.stat, .text("/t"), .room(144)).rooms[0]
        #expect(set == 0 && Array(stat[72..<80]) == [UInt8](repeating: 1, count: 8))
        let owned = try caller.call(.chown, .text("/t"), .number(0), .number(0)).value
        let system = try caller.call(.statfs, .text("/"), .room(120)).value
        #expect([owned, system] == [-1, 0])
    }
}
