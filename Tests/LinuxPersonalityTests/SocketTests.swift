// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import LinuxPersonality

extension Caller {
    fileprivate mutating func put(_ bytes: [UInt8], at address: UInt64) throws {
        try process.space.write(bytes, at: address, memory)
    }

    fileprivate mutating func put(words: [UInt64], at address: UInt64) throws {
        for (index, word) in words.enumerated() {
            try process.space.writeWord(word, at: address + UInt64(index) * 8, memory)
        }
    }
}

@Suite struct SocketTests {
    private static let nonBlocking = 0o4000

    /// A process with a pair of sockets, descriptors 3 and 4.
    private func pair(_ flags: Int = nonBlocking) throws -> Caller {
        var caller = try Caller()
        let made = try caller.call(.socketpair, .number(1), .number(1 | flags), .number(0), .room(8))
        #expect(made.value == 0 && made.rooms[0] == [3, 0, 0, 0, 4, 0, 0, 0])
        return caller
    }

    private func send(_ text: String, _ descriptor: Int, _ flags: Int = 0, _ caller: inout Caller) throws -> Int {
        let bytes = Array(text.utf8)
        return try caller.call(
            .sendto, .number(descriptor), .bytes(bytes), .number(bytes.count), .number(flags), .number(0), .number(0)
        ).value
    }

    /// What the last call waits for.
    private func wait(of caller: borrowing Caller) throws -> Wait {
        let wait = caller.waited
        return try #require(wait)
    }

    /// What comes, or an error's number.
    private func receive(
        _ count: Int, _ descriptor: Int, _ flags: Int = 0, _ caller: inout Caller
    ) throws -> String {
        let got = try caller.call(
            .recvfrom, .number(descriptor), .room(count), .number(count), .number(flags), .number(0), .number(0))
        return got.value < 0 ? "\(got.value)" : String(decoding: got.rooms[0].prefix(got.value), as: UTF8.self)
    }

    /// What `poll` says of a descriptor of which all is asked.
    private func readiness(_ descriptor: UInt8, _ caller: inout Caller) throws -> UInt16 {
        let record: [UInt8] = [descriptor, 0, 0, 0, 0xFF, 0xFF, 0, 0]
        _ = try caller.call(.poll, .bytes(record), .number(1), .number(0))
        let answer = try caller.bytes(at: 1 << 16, count: 8)
        return UInt16(answer[6]) | UInt16(answer[7]) << 8
    }

    @Test func `bytes go either way, by whatever call`() throws {
        var caller = try pair()
        #expect(try send("hello", 3, 0, &caller) == 5)
        let wrote = try caller.call(.write, .number(4), .bytes(Array("back".utf8)), .number(4)).value
        let waiting = try caller.call(.ioctl, .number(4), .number(0x541B), .room(4)).rooms[0]
        #expect(wrote == 4 && waiting == [5, 0, 0, 0])
        #expect(try receive(2, 4, 2, &caller) == "he")
        #expect(try receive(3, 4, 0, &caller) == "hel")
        let read = try caller.call(.read, .number(4), .room(9), .number(9))
        #expect(read.value == 2 && Array(read.rooms[0].prefix(2)) == Array("lo".utf8))
        #expect(try receive(9, 3, 0, &caller) == "back")
        #expect(try receive(9, 3, 0, &caller) == "-11")
        let place = try caller.call(.lseek, .number(3), .number(0), .number(0)).value
        let status = try caller.call(.fstat, .number(3), .room(144)).rooms[0]
        #expect(place == -29 && status[24..<28] == [0xFF, 0xC1, 0, 0])
    }

    @Test func `messages are scattered and gathered, without addresses and control messages`() throws {
        var caller = try pair()
        let (vector, header, data): (UInt64, UInt64, UInt64) = (0x2_0000, 0x2_0100, 0x2_0200)
        try caller.put(words: [data, 2, data + 8, 3], at: vector)
        try caller.put(words: [0, 0, vector, 2, 0, 0, 0xFFFF], at: header)
        try caller.put(Array("ab......cde".utf8), at: data)
        #expect(try caller.raw(.sendmsg, [3, header, 0]) == 5)
        try caller.put(words: [0, 0], at: data)
        // The name's and the control messages' lengths are filled where there is room for them.
        try caller.put(words: [data + 64, 16, vector, 2, data + 96, 32, 0xFFFF], at: header)
        #expect(try caller.raw(.recvmsg, [4, header, 0]) == 5)
        #expect(try caller.bytes(at: data, count: 11) == Array("ab".utf8) + [0, 0, 0, 0, 0, 0] + Array("cde".utf8))
        let filled = try caller.bytes(at: header, count: 56)
        #expect(filled[8..<12] == [0, 0, 0, 0] && filled[40..<52].allSatisfy { $0 == 0 })
        try caller.put(words: [0, 0, vector, 2, data, 16, 0], at: header)
        #expect(try caller.raw(.sendmsg, [3, header, 0]) == -95)
        try caller.put(words: [data, 16, vector, 2, 0, 0, 0], at: header)
        #expect(try caller.raw(.sendmsg, [3, header, 0]) == -106)
        try caller.put(words: [0, 0, vector, 1025, 0, 0, 0], at: header)
        #expect(try caller.raw(.recvmsg, [3, header, 0]) == -90)
    }

    @Test func `who reads waits for bytes, who writes for room, and both are woken`() throws {
        var caller = try pair(0)
        #expect(try receive(4, 3, 0x40, &caller) == "-11")
        _ = try receive(4, 3, 0, &caller)
        let reader = try wait(of: caller)
        _ = caller.process.files.takeRaised()
        #expect(try send("x", 4, 0, &caller) == 1)
        let raised = caller.process.files.takeRaised()
        #expect(!reader.events.isDisjoint(with: raised))
        // MSG_WAITALL
        _ = try receive(4, 3, 0x100, &caller)
        _ = try wait(of: caller)
        #expect(try send("yz!", 4, 0, &caller) == 3)
        #expect(try receive(4, 3, 0x100, &caller) == "xyz!")
        let much = String(repeating: "m", count: 70_000)
        #expect(try send(much, 4, 0, &caller) == Pipe.capacity)
        #expect(try send("n", 4, 0x40, &caller) == -11)
        _ = try send("n", 4, 0, &caller)
        let writer = try wait(of: caller)
        _ = caller.process.files.takeRaised()
        #expect(try receive(5, 3, 0, &caller) == "mmmmm")
        let room = caller.process.files.takeRaised()
        #expect(!writer.events.isDisjoint(with: room))
    }

    @Test func `a direction that is shut down ends for both`() throws {
        var caller = try pair()
        #expect(try send("last", 3, 0, &caller) == 4)
        #expect(try caller.raw(.shutdown, [3, 1]) == 0)
        #expect(try send("more", 3, 0, &caller) == -32)
        #expect(try receive(9, 4, 0, &caller) == "last")
        #expect(try receive(9, 4, 0, &caller) == "")
        #expect(try send("answer", 4, 0, &caller) == 6)
        #expect(try receive(9, 3, 0, &caller) == "answer")
        #expect(try caller.raw(.shutdown, [3, 0]) == 0)
        #expect(try send("more", 4, 0, &caller) == -32)
        #expect(try caller.raw(.shutdown, [3, 3]) == -22)
    }

    @Test func `the end of the other is seen, and so are bytes that it did not read`() throws {
        var caller = try pair()
        #expect(try send("from 4", 4, 0, &caller) == 6)
        #expect(try send("unread", 3, 0, &caller) == 6)
        #expect(try caller.raw(.close, [4]) == 0)
        #expect(try receive(9, 3, 0, &caller) == "from 4")
        #expect(try readiness(3, &caller) & 0x38 == 0x18)
        let error = try caller.call(.getsockopt, .number(3), .number(1), .number(4), .room(4), .bytes([4, 0, 0, 0]))
        #expect(error.value == 0 && error.rooms[0] == [104, 0, 0, 0])
        #expect(try receive(9, 3, 0, &caller) == "")
        #expect(try caller.raw(.close, [3]) == 0)
        let files = caller.process.files
        #expect(files.pipes.isEmpty && files.changes.isEmpty)
    }

    @Test func `poll and epoll say what the kernel says`() throws {
        var caller = try pair()
        #expect(try readiness(3, &caller) == 0x304)
        #expect(try send("x", 4, 0, &caller) == 1)
        #expect(try readiness(3, &caller) == 0x345)
        let epoll = try caller.call(.epollCreate1, .number(0)).value
        let event: [UInt8] = [1, 0, 0, 0x80, 7, 0, 0, 0, 0, 0, 0, 0]
        _ = try caller.call(.epollCtl, .number(epoll), .number(1), .number(3), .bytes(event))
        var counts: [Int] = []
        for isNew in [true, false, false] {
            if isNew { _ = try send("y", 4, 0, &caller) }
            counts.append(try caller.call(.epollWait, .number(epoll), .room(24), .number(2), .number(0)).value)
        }
        #expect(counts == [1, 0, 0])
        #expect(try caller.raw(.shutdown, [4, 1]) == 0)
        #expect(try readiness(3, &caller) == 0x2345)
        #expect(try caller.raw(.close, [4]) == 0)
        #expect(try readiness(3, &caller) == 0x2355)
    }

    @Test func `who writes to nobody gets SIGPIPE, unless it asks for none`() throws {
        for (flags, isKilled) in [(UInt64(0x4000), false), (0, true)] {
            let machine = try Machine()
            let place = Machine.data.lowerBound
            #expect(try machine.value(.socketpair, 1, 1, 0, place) == 0)
            #expect(try machine.value(.close, 4) == 0)
            if isKilled {
                #expect(try machine.call(.sendto, 3, place, 1, flags) == .over(.killed(signal: 13, fault: nil)))
            } else {
                #expect(try machine.value(.sendto, 3, place, 1, flags) == .error(.epipe))
            }
        }
    }

    @Test func `what a pair is not is refused`() throws {
        var caller = try pair()
        let refused = try [
            caller.raw(.socketpair, [2, 1, 0, 1 << 16]), caller.raw(.socketpair, [1, 2, 0, 1 << 16]),
            caller.raw(.socketpair, [1, 1, 6, 1 << 16]), caller.raw(.socketpair, [1, 0x101, 0, 1 << 16]),
            caller.raw(.socketpair, [1, 1, 0, 8]), caller.raw(.socket, [1, 1, 0]), caller.raw(.shutdown, [0, 1]),
            caller.raw(.shutdown, [99, 1]), caller.raw(.listen, [3, 1]), caller.raw(.connect, [3, 1 << 16, 2]),
            caller.raw(.bind, [3, 1 << 16, 2]), caller.raw(.sendto, [3, 1 << 16, 1, 0, 1 << 16, 2]),
            caller.raw(.sendto, [3, 1 << 16, 1, 1, 0, 0]), caller.raw(.open, [0, 0]),
        ]
        #expect(refused == [-97, -94, -93, -22, -14, -97, -88, -9, -22, -106, -95, -106, -95, -14])
        // The ends that nobody was told of are closed again.
        let files = caller.process.files
        #expect(files.open.count == 5 && files.pipes.count == 2)
        while try caller.raw(.dup, [0]) < DescriptorTable.limit - 2 {}
        #expect(try caller.raw(.socketpair, [1, 1, 0, 1 << 16]) == -24)
        #expect(try caller.raw(.dup, [0]) == DescriptorTable.limit - 1)
        #expect(try caller.raw(.socketpair, [1, 1, 0, 1 << 16]) == -24)
        let pipes = caller.process.files.pipes.count
        #expect(pipes == 2)
    }

    @Test func `a pair has options and no names`() throws {
        var caller = try pair(0o2000000)
        let closedOnExec = try caller.call(.fcntl, .number(4), .number(1)).value
        #expect(closedOnExec == 1)
        let size = Argument.bytes([4, 0, 0, 0])
        for (option, value) in [(3, 1), (39, 1), (38, 0), (4, 0), (30, 0)] {
            let got = try caller.call(.getsockopt, .number(3), .number(1), .number(option), .room(4), size)
            #expect(got.value == 0 && got.rooms[0] == [UInt8(value), 0, 0, 0])
        }
        let unknown = try caller.call(.getsockopt, .number(3), .number(1), .number(77), .room(4), size).value
        let set = try caller.call(.setsockopt, .number(3), .number(1), .number(7), size, .number(4)).value
        let limited = try caller.call(.setsockopt, .number(3), .number(1), .number(20), size, .number(4)).value
        let other = try caller.call(.setsockopt, .number(3), .number(6), .number(1), size, .number(4)).value
        #expect([unknown, set, limited, other] == [-92, 0, -92, -95])
        for call in [SystemCall.getsockname, .getpeername] {
            let name = try caller.call(call, .number(3), .room(4), .bytes([110, 0, 0, 0]))
            #expect(name.value == 0 && name.rooms[0] == [1, 0, 0, 0])
            #expect(try caller.bytes(at: 1 << 16 + 64, count: 4) == [2, 0, 0, 0])
        }
    }
}
