// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import LinuxPersonality

/// Calls that few programs make, and what makes them differ from their kin.
@Suite struct CallTests {
    private func bytes(_ words: UInt64...) -> [UInt8] {
        words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
    }

    // MARK: Timers

    @Test func `a timer counts how often it went off since it was read`() throws {
        var caller = try Caller()
        caller.process.moment.monotonic = 10_000_000_000
        let timer = try caller.call(.timerfdCreate, .number(1), .number(0o4000)).value
        // After two seconds, and every second from then on.
        let set = try caller.call(
            .timerfdSettime, .number(timer), .number(0), .bytes(bytes(1, 0, 2, 0)), .number(0)
        ).value
        let early = try caller.call(.read, .number(timer), .room(8), .number(8)).value
        caller.process.moment.monotonic = 14_500_000_000
        let left = try caller.call(.timerfdGettime, .number(timer), .room(32)).rooms[0]
        let read = try caller.call(.read, .number(timer), .room(8), .number(8))
        let again = try caller.call(.read, .number(timer), .room(8), .number(8)).value
        #expect([set, early, read.value, again] == [0, -11, 8, -11])
        #expect(read.rooms[0] == bytes(3) && left == bytes(1, 0, 0, 500_000_000))
        // Absolute, by the time of day, and once.
        caller.process.moment.realtime = 1_000_000_000_000
        let other = try caller.call(.timerfdCreate, .number(0), .number(0)).value
        _ = try caller.call(.timerfdSettime, .number(other), .number(1), .bytes(bytes(0, 0, 1003, 0)), .number(0))
        _ = try caller.call(.read, .number(other), .room(8), .number(8))
        let waited = caller.waited?.deadline
        #expect(waited == 17_500_000_000)
        caller.process.moment.monotonic = 40_000_000_000
        let once = try caller.call(.read, .number(other), .room(8), .number(8)).rooms[0]
        let off = try caller.call(.timerfdGettime, .number(other), .room(32)).rooms[0]
        #expect(once == bytes(1) && off == bytes(0, 0, 0, 0))
    }

    @Test func `who waits for a timer among others is woken by it, and not told that time is up`() throws {
        var caller = try Caller()
        let timer = try caller.call(.timerfdCreate, .number(1), .number(0)).value
        _ = try caller.call(.timerfdSettime, .number(timer), .number(0), .bytes(bytes(0, 0, 2, 0)), .number(0))
        let epoll = try caller.call(.epollCreate1, .number(0)).value
        _ = try caller.call(.epollCtl, .number(epoll), .number(1), .number(timer), .bytes([1, 0, 0, 0] + bytes(7)))
        _ = try caller.call(.epollWait, .number(epoll), .room(24), .number(2), .number(5000))
        var waited = caller.waited?.deadline
        #expect(waited == 2_000_000_000)
        // Somebody turns it off: the call waits for its own end.
        caller.process.moment.monotonic = 2_000_000_000 - 1
        caller.process.hasTimedOut = true
        _ = try caller.call(.epollWait, .number(epoll), .room(24), .number(2), .number(5000))
        waited = caller.waited?.deadline
        #expect(waited == 2_000_000_000)
        caller.process.moment.monotonic += 1
        let ready = try caller.call(.epollWait, .number(epoll), .room(24), .number(2), .number(5000))
        #expect(ready.value == 1 && Array(ready.rooms[0].prefix(12)) == [1, 0, 0, 0] + bytes(7))
    }

    // MARK: Readiness

    @Test func `an epoll can watch another, and none can watch itself`() throws {
        var caller = try Caller()
        let epolls = try (0..<3).map { _ in try caller.call(.epollCreate1, .number(0)).value }
        func watch(_ outer: Int, _ inner: Int, _ caller: inout Caller) throws -> Int {
            try caller.call(.epollCtl, .number(outer), .number(1), .number(inner), .bytes([1, 0, 0, 0] + bytes(9)))
                .value
        }
        let counter = try caller.call(.eventfd2, .number(0), .number(0)).value
        let results = try [
            watch(epolls[1], counter, &caller), watch(epolls[0], epolls[1], &caller),
            watch(epolls[0], epolls[0], &caller),
            watch(epolls[1], epolls[0], &caller), watch(epolls[1], epolls[2], &caller),
            watch(epolls[2], epolls[0], &caller),
        ]
        #expect(results == [0, 0, -22, -40, -40, -40])
        _ = try caller.call(.epollWait, .number(epolls[0]), .room(12), .number(1), .number(-1))
        let events = caller.waited?.events
        _ = try caller.call(.write, .number(counter), .bytes(bytes(1)), .number(8))
        let raised = caller.process.files.takeRaised()
        let ready = try caller.call(.epollWait, .number(epolls[0]), .room(12), .number(1), .number(-1))
        #expect(events?.isDisjoint(with: raised) == false)
        #expect(ready.value == 1 && ready.rooms[0] == [1, 0, 0, 0] + bytes(9))
    }

    @Test func `select takes more microseconds than a second has`() throws {
        var caller = try Caller()
        _ = try caller.call(.select, .number(0), .number(0), .number(0), .number(0), .bytes(bytes(1, 2_500_000)))
        let waited = caller.waited?.deadline
        let negative = try caller.call(
            .select, .number(0), .number(0), .number(0), .number(0), .bytes(bytes(0, .max))
        ).value
        #expect(waited == 3_500_000_000 && negative == -22)
    }

    // MARK: Files

    @Test func `a file that a layer brought lives on while it is open, with what was written to it`() throws {
        let tree = try #require(FileTree(files: [("f", FileBytes(Array("old".utf8)), 0o644)]))
        var caller = try Caller([tree])
        let one = try caller.call(.open, .text("/f"), .number(2)).value
        _ = try caller.call(.write, .number(one), .bytes(Array("new".utf8)), .number(3))
        let other = try caller.call(.open, .text("/f"), .number(0)).value
        _ = try caller.call(.close, .number(one))
        _ = try caller.call(.unlink, .text("/f"))
        let read = try caller.call(.read, .number(other), .room(3), .number(3))
        #expect(read.value == 3 && read.rooms[0] == Array("new".utf8))
        let used = caller.process.files.tree.usedBytes
        _ = try caller.call(.close, .number(other))
        let left = (caller.process.files.tree.usedBytes, caller.process.files.tree.usedInodes)
        #expect(used == 3 + OverlayTree.inodeBytes && left == (0, 0))
    }

    @Test func `the old call lists what the new one does`() throws {
        var caller = try Caller()
        for name in ["a", "bb", "ccc"] { _ = try caller.call(.creat, .text("/tmp/\(name)"), .number(0o644)) }
        let directory = try caller.call(.open, .text("/tmp"), .number(0)).value
        let list = try caller.call(.getdents, .number(directory), .room(500), .number(500))
        var (names, place) = ([String](), 0)
        while place < list.value {
            let length = Int(list.rooms[0][place + 16])
            let name = list.rooms[0][(place + 18)...].prefix { $0 != 0 }
            names.append(String(decoding: name, as: UTF8.self) + "\(list.rooms[0][place + length - 1])")
            place += length
        }
        #expect(names == [".4", "..4", "a8", "bb8", "ccc8"])
    }

    @Test func `times of files can be set in four ways`() throws {
        var caller = try Caller()
        _ = try caller.call(.creat, .text("/tmp/f"), .number(0o644))
        func modified() throws -> [UInt8] {
            Array(try caller.call(.stat, .text("/tmp/f"), .room(144)).rooms[0][88..<104])
        }
        let results = try [
            caller.call(.utime, .text("/tmp/f"), .bytes(bytes(1, 2))).value,
            caller.call(.utimes, .text("/tmp/f"), .bytes(bytes(1, 0, 3, 999_999))).value,
            caller.call(.futimesat, .number(-100), .text("/tmp/f"), .bytes(bytes(1, 0, 3, 1_000_000))).value,
        ]
        #expect(results == [0, 0, -22])
        #expect(try modified() == bytes(3, 999_999_000))
        _ = try caller.call(.utime, .text("/tmp/f"), .bytes(bytes(1, 2)))
        #expect(try modified() == bytes(2, 0))
        let nowhere = try caller.call(.utime, .text("/tmp/none"), .number(0)).value
        #expect(nowhere == -2)
    }

    @Test func `extended attributes are absent rather than unknown`() throws {
        var caller = try Caller()
        let results = try [
            caller.call(.getxattr, .text("/tmp"), .text("user.a"), .room(10), .number(10)).value,
            caller.call(.lgetxattr, .text("/none"), .text("user.a"), .room(10), .number(10)).value,
            caller.call(.listxattr, .text("/tmp"), .room(10), .number(10)).value,
            caller.call(.setxattr, .text("/tmp"), .text("user.a"), .bytes([1]), .number(1), .number(0)).value,
            caller.call(.fremovexattr, .number(9), .text("user.a")).value,
            caller.call(.getxattr, .text("/tmp"), .text(""), .room(10), .number(10)).value,
        ]
        #expect(results == [-61, -2, 0, -95, -9, -34])
    }

    @Test func `openat2 opens, and refuses what it does not know`() throws {
        var caller = try Caller()
        func open(_ how: [UInt8], _ size: Int) throws -> Int {
            try caller.call(.openat2, .number(-100), .text("/tmp/f"), .bytes(how), .number(size)).value
        }
        let results = try [
            open(bytes(0o101, 0o644, 0), 24), open(bytes(0, 0, 0, 0), 32), open(bytes(0, 0, 0, 1), 32),
            open(bytes(0, 0, 8), 24), open(bytes(0, 0o644, 0), 24), open(bytes(0, 0, 0), 23),
        ]
        #expect(results == [3, 4, -7, -38, -22, -22])
    }

    @Test func `a regular file can be made by mknod, a device cannot`() throws {
        var caller = try Caller()
        let results = try [0o100600, 0o20600, 0o10600, 0o40600].map { mode in
            try caller.call(.mknod, .text("/tmp/n"), .number(mode), .number(0x103)).value
        }
        #expect(results == [0, -1, -1, -22])
    }

    @Test func `a file has so many names and no more`() throws {
        var limits = OverlayTree.Limits()
        limits.links = 3
        var caller = try Caller(limits: limits)
        _ = try caller.call(.creat, .text("/f"), .number(0o644))
        let made = try (0..<3).map { try caller.call(.link, .text("/f"), .text("/f\($0)")).value }
        #expect(made == [0, 0, -31])
    }

    @Test func `a file can have no name from its beginning, and is gone with its descriptor`() throws {
        var caller = try Caller()
        let flags = 0o20200002
        let file = try caller.call(.open, .text("/tmp"), .number(flags), .number(0o600)).value
        _ = try caller.call(.write, .number(file), .bytes([1, 2]), .number(2))
        let read = try caller.call(.pread64, .number(file), .room(2), .number(2), .number(0))
        let used = caller.process.files.tree.usedBytes
        _ = try caller.call(.close, .number(file))
        let left = (caller.process.files.tree.usedBytes, caller.process.files.tree.usedInodes)
        #expect(file == 3 && read.rooms[0] == [1, 2])
        #expect(used == 2 + OverlayTree.inodeBytes && left == (0, 0))
        let refused = try [
            caller.call(.open, .text("/tmp"), .number(flags & ~2), .number(0o600)).value,
            caller.call(.open, .text("/proc"), .number(flags), .number(0o600)).value,
            caller.call(.open, .text("/etc/passwd"), .number(flags), .number(0o600)).value,
        ]
        #expect(refused == [-22, -13, -20])
    }

    // MARK: The process

    @Test func `there is one way to be scheduled`() throws {
        var caller = try Caller()
        let results = try [
            caller.call(.schedSetscheduler, .number(0), .number(0), .bytes([0, 0, 0, 0])).value,
            caller.call(.schedSetscheduler, .number(0), .number(1), .bytes([5, 0, 0, 0])).value,
            caller.call(.schedSetscheduler, .number(0), .number(9), .bytes([0, 0, 0, 0])).value,
            caller.call(.schedGetscheduler, .number(77)).value, caller.call(.schedGetPriorityMax, .number(1)).value,
            caller.call(.schedSetaffinity, .number(0), .number(8), .bytes(bytes(2))).value,
            caller.call(.getpriority, .number(0), .number(0)).value,
            caller.call(.setpriority, .number(0), .number(0), .number(-5)).value,
        ]
        #expect(results == [0, -1, -22, -3, 99, -22, 20, -13])
    }
}
