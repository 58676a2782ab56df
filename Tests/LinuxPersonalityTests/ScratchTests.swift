// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import LinuxPersonality

/// What a program can fill a worker's memory with that has no bytes.
@Suite struct ScratchTests {
    private func caller(bytes: Int, _ layers: [FileTree] = []) throws -> Caller {
        try Caller(layers, limits: OverlayTree.Limits(bytes: bytes))
    }

    @Test func `empty files, directories, links and names fill the scratch, and what is removed makes room again`()
        throws
    {
        var caller = try caller(bytes: 100_000)
        let long = String(repeating: "n", count: 200)
        let each = OverlayTree.inodeBytes + OverlayTree.bytes(of: FileName(long + "000"))
        var made: [String] = []
        while made.count < 1000 {
            let name = "/\(long)\(made.count + 100)"
            let value = try caller.call(.mknod, .text(name), .number(0o100644), .number(0)).value
            guard value == 0 else {
                #expect(value == -28)
                break
            }
            made.append(name)
        }
        #expect(made.count == 100_000 / each)
        let directory = try caller.call(.mkdir, .text("/\(long)d"), .number(0o755)).value
        let link = try caller.call(.symlink, .text(long), .text("/\(long)l")).value
        #expect([directory, link] == [-28, -28])
        // Names alone take less.
        var names = 0
        while try caller.call(.link, .text(made[0]), .text("/x\(names)")).value == 0 { names += 1 }
        #expect(names == 100_000 % each / OverlayTree.bytes(of: FileName("x0")))
        for name in made { #expect(try caller.call(.unlink, .text(name)).value == 0) }
        for index in 0..<names { #expect(try caller.call(.unlink, .text("/x\(index)")).value == 0) }
        let left = (caller.process.files.tree.usedBytes, caller.process.files.tree.usedInodes)
        #expect(left == (0, 0))
    }

    @Test func `a file without a name is charged until it is closed`() throws {
        var caller = try caller(bytes: OverlayTree.inodeBytes)
        let first = try caller.call(.memfdCreate, .text("m"), .number(0)).value
        let second = try caller.call(.memfdCreate, .text("m"), .number(0)).value
        #expect(first == 3 && second == -28)
        _ = try caller.call(.close, .number(first))
        let again = try caller.call(.memfdCreate, .text("m"), .number(0)).value
        #expect(again == 3)
    }

    @Test func `in a full scratch names are removed and moved all the same`() throws {
        let tree = try #require(FileTree(files: [("lower", FileBytes([1]), 0o644)]))
        let each = OverlayTree.inodeBytes + OverlayTree.bytes(of: FileName("a"))
        var caller = try caller(bytes: each, [tree])
        let made = try caller.call(.mknod, .text("/a"), .number(0o100644), .number(0)).value
        let moved = try caller.call(.rename, .text("/a"), .text("/b")).value
        let longer = try caller.call(.rename, .text("/b"), .text("/bb")).value
        let changed = try caller.call(.chmod, .text("/lower"), .number(0o600)).value
        let removed = try caller.call(.unlink, .text("/lower")).value
        #expect([made, moved, longer, changed, removed] == [0, 0, -28, -28, 0])
        let used = caller.process.files.tree.usedBytes
        #expect(used == each)
        let there = try caller.call(.access, .text("/b"), .number(0)).value
        #expect(there == 0)
    }

    @Test(.timeLimit(.minutes(1)))
    func `directories go as deep as there is room, in time that grows with their number`() throws {
        var caller = try Caller()
        for depth in 0..<20_000 {
            let made = try caller.call(.mkdir, .text("d"), .number(0o755)).value
            let entered = try caller.call(.chdir, .text("d")).value
            guard made == 0, entered == 0 else {
                Issue.record("\(made) and \(entered) at \(depth)")
                return
            }
        }
        // As Linux, which gives up behind the first 4 KiB.
        for _ in 0..<2_000 {
            let path = try caller.call(.getcwd, .room(4096), .number(4096)).value
            guard path == -36 else {
                Issue.record("\(path)")
                return
            }
        }
        let room = try caller.call(.readlink, .text("/proc/self/cwd"), .room(4096), .number(4096)).value
        #expect(room == "(deleted)".utf8.count)
    }

    @Test(.timeLimit(.minutes(1))) func `descriptors are opened and closed in time that grows with their number`()
        throws
    {
        var caller = try Caller()
        for round in 0..<20 {
            for pipe in 0..<510 {
                let made = try caller.raw(.pipe2, [1 << 16, 0])
                guard made == 0 else {
                    Issue.record("\(made) for pipe \(pipe) in round \(round)")
                    return
                }
            }
            #expect(try caller.raw(.closeRange, [3, .max, 0]) == 0)
        }
        for _ in 0..<20_000 {
            let closed = try caller.raw(.close, [1000])
            guard closed == -9 else {
                Issue.record("\(closed)")
                return
            }
        }
        let files = caller.process.files
        #expect(files.open.count == 3 && files.pipes.isEmpty)
    }

    @Test func `an epoll that is closed is forgotten by what it watched, and the other way around`() throws {
        var caller = try Caller()
        _ = try caller.call(.pipe2, .room(8), .number(0))
        _ = try caller.call(.dup, .number(3))
        let event = Argument.bytes([1] + [UInt8](repeating: 0, count: 11))
        for _ in 0..<3 {
            let epoll = try caller.call(.epollCreate1, .number(0)).value
            for descriptor in [3, 5] {
                #expect(try caller.call(.epollCtl, .number(epoll), .number(1), .number(descriptor), event).value == 0)
            }
            _ = try caller.call(.close, .number(epoll))
        }
        let file = try caller.process.files.number(3)
        let watchers = caller.process.files.open[file]?.watchers
        #expect(watchers == [])
        let epoll = try caller.call(.epollCreate1, .number(0)).value
        for descriptor in [3, 5] {
            _ = try caller.call(.epollCtl, .number(epoll), .number(1), .number(descriptor), event)
        }
        _ = try caller.call(.epollCtl, .number(epoll), .number(2), .number(3), .number(0))
        let one = caller.process.files.open[file]?.watchers.count
        #expect(one == 1)
        _ = try caller.call(.close, .number(3))
        _ = try caller.call(.close, .number(5))
        let epolls = caller.process.files.epolls.values
        #expect(epolls.map(\.order.count) == [0] && epolls.map(\.interests.count) == [0])
    }
}
