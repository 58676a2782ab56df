// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import KVM
@testable import LinuxPersonality

@Suite struct FileCallTests {
    @Test func `a bad address is told as EFAULT`() throws {
        var caller = try Caller()
        let far: UInt64 = 1 << 40
        let opened = try caller.raw(.open, [far, 0])
        let written = try caller.raw(.write, [1, far, 5])
        let asked = try caller.raw(.fstat, [0, far])
        let piped = try caller.raw(.pipe, [far])
        #expect([opened, written, asked, piped] == [-14, -14, -14, -14])
        // The ends of the pipe that could not be told are closed again.
        let next = try caller.call(.dup, .number(0)).value
        #expect(next == 3)
    }

    @Test func `links that lead in circles end with ELOOP, and forty are followed`() throws {
        var caller = try Caller()
        _ = try caller.call(.symlink, .text("/b"), .text("/a"))
        _ = try caller.call(.symlink, .text("/a"), .text("/b"))
        let circle = try caller.call(.open, .text("/a"), .number(0)).value
        #expect(circle == -40)
        _ = try caller.call(.symlink, .text("/tmp"), .text("/l0"))
        for index in 1...40 { _ = try caller.call(.symlink, .text("l\(index - 1)"), .text("/l\(index)")) }
        let forty = try caller.call(.stat, .text("/l39"), .room(144)).value
        let more = try caller.call(.stat, .text("/l40"), .room(144)).value
        #expect([forty, more] == [0, -40])
    }

    @Test func `the scratch is full where its limits say`() throws {
        var limits = OverlayTree.Limits()
        (limits.bytes, limits.inodes) = (100_000, 10)
        var caller = try Caller(limits: limits)
        let file = try caller.call(.creat, .text("/f"), .number(0o644)).value
        let content = [UInt8](repeating: 7, count: 70000)
        let first = try caller.call(.write, .number(file), .bytes(content), .number(content.count)).value
        let second = try caller.call(.write, .number(file), .bytes(content), .number(content.count)).value
        let third = try caller.call(.write, .number(file), .bytes(content), .number(content.count)).value
        #expect(first == 70000 && second == 0 || second < 70000 && third == -28)
        var made = 0
        while try caller.call(.mkdir, .text("/d\(made)"), .number(0o755)).value == 0 { made += 1 }
        #expect(made == 9)
        // What is removed makes room again.
        _ = try caller.call(.rmdir, .text("/d0"))
        let again = try caller.call(.mkdir, .text("/e"), .number(0o755)).value
        #expect(again == 0)
    }

    @Test func `descriptors end with EMFILE`() throws {
        var caller = try Caller()
        var last = 0
        while true {
            let next = try caller.call(.dup, .number(0)).value
            if next < 0 { break }
            last = next
        }
        #expect(last == DescriptorTable.limit - 1)
        let refused = try caller.call(.open, .text("/tmp"), .number(0)).value
        #expect(refused == -24)
    }

    @Test func `reading standard input waits until bytes come, and ends with it`() throws {
        var caller = try Caller()
        _ = try caller.call(.read, .number(0), .room(10), .number(10))
        let waits = caller.waited?.events.contains(.standardInput)
        #expect(waits == true)
        caller.process.standardInput.append(Array("hey".utf8))
        let read = try caller.call(.read, .number(0), .room(10), .number(2))
        #expect(read.value == 2 && Array(read.rooms[0].prefix(3)) == [104, 101, 0])
        caller.process.standardInput.end()
        let rest = try caller.call(.read, .number(0), .room(10), .number(10)).value
        let end = try caller.call(.read, .number(0), .room(10), .number(10)).value
        #expect([rest, end] == [1, 0])
    }

    @Test func `one call gives at most its share of output`() throws {
        var caller = try Caller()
        let bytes = [UInt8](repeating: 65, count: 100_000)
        let first = try caller.call(.write, .number(1), .bytes(bytes), .number(bytes.count)).value
        #expect(first == OutputStream.maximumWrite)
        let sent = caller.process.outbox.map(\.bytes.count)
        #expect(sent == [OutputStream.maximumWrite])
    }

    @Test func `a pipe carries bytes, waits when empty or full, and breaks`() throws {
        var caller = try Caller()
        let made = try caller.call(.pipe2, .room(8), .number(0)).rooms[0]
        #expect(made == [3, 0, 0, 0, 4, 0, 0, 0])
        _ = try caller.call(.read, .number(3), .room(4), .number(4))
        let waits = caller.waited != nil
        #expect(waits)
        let full = [UInt8](repeating: 1, count: 80000)
        let first = try caller.call(.write, .number(4), .bytes(full), .number(full.count)).value
        #expect(first == Pipe.capacity)
        _ = try caller.call(.write, .number(4), .bytes([1]), .number(1))
        let waitsFull = caller.waited != nil
        #expect(waitsFull)
        _ = try caller.call(.close, .number(3))
        let broken = try caller.call(.write, .number(4), .bytes([1]), .number(1)).value
        #expect(broken == -32)
    }

    @Test func `bytes go from file to file`() throws {
        var caller = try Caller()
        let one = try caller.call(.open, .text("/one"), .number(0o102), .number(0o644)).value
        let two = try caller.call(.open, .text("/two"), .number(0o102), .number(0o644)).value
        _ = try caller.call(.write, .number(one), .bytes(Array("hello".utf8)), .number(5))
        let sent = try caller.call(.sendfile, .number(two), .number(one), .bytes([1, 0, 0, 0, 0, 0, 0, 0]), .number(9))
        let read = try caller.call(.pread64, .number(two), .room(4), .number(4), .number(0))
        #expect(sent.value == 4 && read.rooms[0] == Array("ello".utf8))
    }

    @Test func `a copy of the process writes for itself`() throws {
        var caller = try Caller()
        let file = try caller.call(.open, .text("/f"), .number(0o102), .number(0o644)).value
        _ = try caller.call(.write, .number(file), .bytes([1, 2]), .number(2))
        let copy = caller.process
        _ = try caller.call(.pwrite64, .number(file), .bytes([9]), .number(1), .number(0))
        caller.process = copy
        let read = try caller.call(.pread64, .number(file), .room(2), .number(2), .number(0))
        #expect(read.rooms[0] == [1, 2])
    }

    @Test func `random bytes are ChaCha20's`() {
        var stream = RandomStream()
        // RFC 8439, A.1, test vector 1: key, nonce and counter of zeros.
        #expect(stream.bytes(8) == [0x76, 0xB8, 0xE0, 0xAD, 0xA0, 0xF1, 0x3D, 0x90])
    }
}
