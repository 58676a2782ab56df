// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc
import Testing

@testable import LinuxPersonality

@Suite struct IdentityTests {
    private func word(_ bytes: [UInt8], _ index: Int) -> UInt64 {
        (0..<8).reduce(0) { $0 | UInt64(bytes[index * 8 + $1]) << ($1 * 8) }
    }

    @Test func `clocks say what the moment is`() throws {
        var caller = try Caller()
        caller.process.moment = Moment(monotonic: 5_000_000_007, realtime: 1_700_000_000_123_456_789)
        let realtime = try caller.call(.clockGettime, .number(0), .room(16)).rooms[0]
        #expect(word(realtime, 0) == 1_700_000_000 && word(realtime, 1) == 123_456_789)
        let monotonic = try caller.call(.clockGettime, .number(1), .room(16)).rooms[0]
        #expect(word(monotonic, 0) == 5 && word(monotonic, 1) == 7)
        let day = try caller.call(.gettimeofday, .room(16), .number(0)).rooms[0]
        #expect(word(day, 0) == 1_700_000_000 && word(day, 1) == 123_456)
        let seconds = try caller.call(.time, .number(0)).value
        let unknown = try caller.call(.clockGettime, .number(99), .room(16)).value
        let nowhere = try caller.call(.clockGettime, .number(0), .number(0)).value
        #expect([seconds, unknown, nowhere] == [1_700_000_000, -Int(EINVAL), -Int(EFAULT)])
    }

    @Test func `a sleep ends when its time is over, counted from its beginning`() throws {
        var caller = try Caller()
        caller.process.callStarted = 1_000
        caller.process.moment.monotonic = 3_000
        let time: [UInt8] = [1] + [UInt8](repeating: 0, count: 15)
        _ = try caller.call(.nanosleep, .bytes(time), .number(0))
        var waited = caller.waited
        #expect(waited == Wait(events: [.signal], deadline: 1_000_001_000))
        _ = try caller.call(.clockNanosleep, .number(1), .number(1), .bytes(time), .number(0))
        waited = caller.waited
        #expect(waited?.deadline == 1_000_000_000)
        caller.process.hasTimedOut = true
        let over = try caller.call(.nanosleep, .bytes(time), .number(0)).value
        caller.process.hasTimedOut = false
        let never = [UInt8](repeating: 0xFF, count: 16)
        let negative = try caller.call(.nanosleep, .bytes(never), .number(0)).value
        let longest = [UInt8](repeating: 0xFF, count: 7) + [0x7F] + [UInt8](repeating: 0, count: 8)
        _ = try caller.call(.nanosleep, .bytes(longest), .number(0))
        waited = caller.waited
        #expect(over == 0 && negative == -Int(EINVAL) && waited?.deadline == .max)
    }

    @Test func `the process is one without privileges, on one processor`() throws {
        var caller = try Caller()
        let numbers = try [SystemCall.getpid, .getppid, .getuid, .getegid].map { try caller.call($0).value }
        #expect(numbers == [1, 0, 1000, 1000])
        let becoming = try [1000, 0].map { try caller.call(.setuid, .number($0)).value }
        #expect(becoming == [0, -Int(EPERM)])
        let kept = try caller.call(.setresuid, .number(-1), .number(1000), .number(-1)).value
        let other = try caller.call(.getsid, .number(2)).value
        #expect(kept == 0 && other == -Int(ESRCH))
        let name = try caller.call(.uname, .room(390)).rooms[0]
        #expect(String(decoding: name.prefix(5), as: UTF8.self) == "Linux")
        #expect(String(decoding: name[260..<266], as: UTF8.self) == "x86_64")
        let affinity = try caller.call(.schedGetaffinity, .number(0), .number(128), .room(128))
        #expect(affinity.value == 8 && affinity.rooms[0].prefix(8) == [1, 0, 0, 0, 0, 0, 0, 0])
        let system = try caller.call(.sysinfo, .room(112))
        #expect(system.value == 0 && word(system.rooms[0], 4) == 4 << 20 - AddressLayout.reservedBytes)
    }
}
