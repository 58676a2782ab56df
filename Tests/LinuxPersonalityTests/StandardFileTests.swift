// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import LinuxPersonality

/// What programs read of themselves and of their machine.
@Suite struct StandardFileTests {
    private func text(_ path: String, of caller: inout Caller) throws -> String {
        let file = try caller.call(.open, .text(path), .number(0)).value
        guard file >= 0 else { return "error \(file)" }
        var bytes: [UInt8] = []
        while true {
            let piece = try caller.call(.read, .number(file), .room(1000), .number(1000))
            if piece.value <= 0 { break }
            bytes += piece.rooms[0].prefix(piece.value)
        }
        _ = try caller.call(.close, .number(file))
        return String(decoding: bytes, as: UTF8.self)
    }

    private func link(_ path: String, of caller: inout Caller) throws -> String {
        let link = try caller.call(.readlink, .text(path), .room(200), .number(200))
        return String(decoding: link.rooms[0].prefix(max(0, link.value)), as: UTF8.self)
    }

    @Test func `a program finds its name, arguments and environment`() throws {
        var caller = try Caller()
        caller.process.program = Program(
            path: Array("/usr/bin/a-rather-long-name".utf8), arguments: [Array("a".utf8), Array("b c".utf8)],
            environment: [Array("HOME=/".utf8)])
        caller.process.files.tree.setExecutable(caller.process.program.path)
        #expect(try text("/proc/self/cmdline", of: &caller) == "a\0b c\0")
        #expect(try text("/proc/1/environ", of: &caller) == "HOME=/\0")
        #expect(try text("/proc/thread-self/comm", of: &caller) == "a-rather-long-n\n")
        #expect(try link("/proc/self/exe", of: &caller) == "/usr/bin/a-rather-long-name")
        let status = try text("/proc/self/status", of: &caller)
        #expect(status.hasPrefix("Name:\ta-rather-long-n\n") && status.contains("\nUid:\t1000\t1000\t1000\t1000\n"))
        let fields = try text("/proc/self/stat", of: &caller).split(separator: " ")
        #expect(fields.count == 52 && fields[1] == "(a-rather-long-n)" && fields[2] == "R")
    }

    @Test func `a report is made anew from its beginning, and one that is read on stays`() throws {
        var caller = try Caller()
        let file = try caller.call(.open, .text("/proc/self/maps"), .number(0)).value
        let first = try caller.call(.pread64, .number(file), .room(4000), .number(4000), .number(0))
        #expect(first.value > 0)
        _ = try caller.raw(.mmap, [0x50_0000, 4096, 1, 0x32, .max, 0])
        let rest = try caller.call(.pread64, .number(file), .room(4000), .number(4000), .number(first.value)).value
        let again = try caller.call(.pread64, .number(file), .room(4000), .number(4000), .number(0)).value
        #expect(rest == 0 && again > first.value)
        let written = try caller.call(.open, .text("/proc/self/maps"), .number(1)).value
        let size = try caller.call(.stat, .text("/proc/self/maps"), .room(144))
        #expect(written == -13 && size.rooms[0][48..<56].allSatisfy { $0 == 0 })
    }

    @Test func `mappings are called by their files`() throws {
        let tree = try #require(
            FileTree(files: [("lib/libx.so", FileBytes([UInt8](repeating: 1, count: 5000)), 0o755)]))
        var caller = try Caller([tree])
        let file = try caller.call(.open, .text("/lib/../lib/libx.so"), .number(0)).value
        _ = try caller.raw(.mmap, [0, 5000, 5, 2, UInt64(file), 0])
        let maps = try text("/proc/self/maps", of: &caller)
        #expect(maps.contains("r-xp 00000000 00:01 0") && maps.contains(" /lib/libx.so\n"))
        let zero = try caller.call(.open, .text("/dev/zero"), .number(2)).value
        let mapped = try caller.raw(.mmap, [0, 4096, 3, 2, UInt64(zero), 0])
        #expect(mapped > 0)
        #expect(try caller.bytes(at: UInt64(mapped), count: 4096).allSatisfy { $0 == 0 })
    }

    @Test func `where a process stands is a link that follows it`() throws {
        var caller = try Caller()
        _ = try caller.call(.mkdir, .text("/desk"), .number(0o755))
        _ = try caller.call(.chdir, .text("/desk"))
        #expect(try link("/proc/self/cwd", of: &caller) == "/desk")
        _ = try caller.call(.creat, .text("/proc/self/cwd/made"), .number(0o644))
        let made = try caller.call(.access, .text("/desk/made"), .number(0)).value
        #expect(made == 0)
        _ = try caller.call(.rename, .text("/desk"), .text("/other"))
        #expect(try link("/proc/self/cwd", of: &caller) == "/other")
    }

    @Test func `the machine is the same for everybody`() throws {
        var caller = try Caller()
        caller.process.moment = Moment(monotonic: 12_340_000_000, realtime: 1_700_000_012_000_000_000)
        #expect(try text("/proc/uptime", of: &caller) == "12.34 0.00\n")
        #expect(try text("/proc/stat", of: &caller).contains("\nbtime 1699999999\n"))
        #expect(try text("/sys/devices/system/cpu/online", of: &caller) == "0\n")
        #expect(try text("/proc/sys/vm/overcommit_memory", of: &caller) == "0\n")
        #expect(try text("/proc/mounts", of: &caller).hasPrefix("tmpfs / tmpfs rw"))
        #expect(try text("/proc/cpuinfo", of: &caller).hasPrefix("processor\t: 0\n"))
        let memory = try text("/proc/meminfo", of: &caller)
        #expect(memory.hasPrefix("MemTotal:           \((4 << 20 - 128 << 10) / 1024) kB\n"), "\(memory)")
        let names = try (0..<2).map { _ in try text("/proc/sys/kernel/random/uuid", of: &caller) }
        #expect(names[0].count == 37 && names[0] != names[1])
    }

    @Test func `every standard file is there, can be read, and has a path of its own`() throws {
        var caller = try Caller()
        let paths = ProcessReport.allCases.map(\.rawValue) + StandardFiles.texts.map(\.path)
        #expect(Set(paths).count == paths.count)
        for path in paths where path != "/proc/1/cmdline" && path != "/proc/1/environ" {
            let found = try text(path, of: &caller)
            #expect(found.hasSuffix("\n") && !found.hasPrefix("error"), "\(path): \(found)")
        }
        // What a layer brings does not stand in for it.
        let tree = try #require(FileTree(files: [("proc/version", FileBytes([1]), 0o644)]))
        var other = try Caller([tree])
        #expect(try text("/proc/version", of: &other).hasPrefix("Linux version 6.1.0"))
    }
}
