// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import GuestImage
import JobModel
import Testing

@testable import LinuxPersonality

@Suite struct LimitTests {
    private let word = Machine.data.lowerBound

    @Test func `limits are told, and lowered but never raised`() throws {
        let machine = try Machine()
        #expect(try machine.value(.prlimit64, 0, 7, 0, word) == 0)
        #expect(try machine.word(word) == UInt64(DescriptorTable.limit))
        #expect(try machine.value(.getrlimit, 3, word) == 0)
        #expect(try machine.word(word) == 8 << 20 && machine.word(word + 8) == .max)
        #expect(try machine.value(.getrlimit, 2, word) == 0)
        #expect(try machine.word(word) == machine.memory.bytes)
        try machine.put(100, 200, at: word)
        #expect(try machine.value(.prlimit64, 1, 7, word, word + 16) == 0)
        #expect(try machine.word(word + 16) == 1024)
        try machine.put(201, 201, at: word)
        #expect(try machine.value(.setrlimit, 7, word) == .error(.eperm))
        try machine.put(150, 100, at: word)
        #expect(try machine.value(.setrlimit, 7, word) == .error(.einval))
        #expect(try machine.value(.getrlimit, 7, word) == 0)
        #expect(try machine.word(word) == 100 && machine.word(word + 8) == 200)
        let refused: [(SystemCall, [UInt64], Errno)] = [
            (.prlimit64, [2, 7, 0, word], .esrch), (.prlimit64, [0, 16, 0, word], .einval),
            (.prlimit64, [0, 7, Machine.nowhere, 0], .efault), (.prlimit64, [0, 7, 0, Machine.nowhere], .efault),
            (.getrlimit, [7, 0, 0, 0], .efault),
        ]
        for (call, all, error) in refused {
            #expect(try machine.value(call, all[0], all[1], all[2], all[3]) == .error(error), "\(call) \(all)")
        }
    }

    @Test func `segment bases are the vCPU's, and never beyond the program's memory`() throws {
        let machine = try Machine()
        #expect(try machine.value(.archPrctl, 0x1002, 0x1234) == 0)
        #expect(try machine.value(.archPrctl, 0x1001, 0x5678) == 0)
        #expect(machine.processor.fsBase == 0x1234 && machine.processor.gsBase == 0x5678)
        #expect(try machine.value(.archPrctl, 0x1003, word) == 0)
        #expect(try machine.value(.archPrctl, 0x1004, word + 8) == 0)
        #expect(try machine.word(word) == 0x1234 && machine.word(word + 8) == 0x5678)
        #expect(try machine.value(.archPrctl, 0x1003, Machine.nowhere) == .error(.efault))
        for base in [AddressLayout.userEnd, 0x8000_0000_0000, .max] as [UInt64] {
            #expect(try machine.value(.archPrctl, 0x1002, base) == .error(.eperm))
        }
        #expect(try machine.value(.archPrctl, 0x1012, 0) == .error(.enodev))
        #expect(try machine.value(.archPrctl, 0x9999, 0) == .error(.einval))
        #expect(machine.processor.fsBase == 0x1234)
    }

    @Test func `prctl knows names, and what runtimes ask`() throws {
        let machine = try Machine()
        try machine.process.space.write(Array("a long name for a thread\0".utf8), at: word, machine.memory)
        #expect(try machine.value(.prctl, 15, word) == 0)
        #expect(try machine.value(.prctl, 16, word + 64) == 0)
        let name = try machine.process.space.read(word + 64, count: 16, machine.memory)
        #expect(name == Array("a long name for\0".utf8))
        let answers: [([UInt64], Int64)] = [
            ([3], 1), ([4, 1], 0), ([7], 0), ([21], 0), ([23, 5], 0), ([23, 41], .error(.einval)),
            ([24, 5], .error(.eperm)),
            ([30], 50_000), ([39], 0), ([38, 2], .error(.einval)), ([38, 1], 0), ([39], 1),
            ([15, Machine.nowhere], .error(.efault)), ([16, Machine.nowhere], .error(.efault)),
            ([999], .error(.einval)),
        ]
        for (arguments, expected) in answers {
            #expect(try machine.value(.prctl, arguments[0], (arguments + [0])[1]) == expected, "\(arguments)")
        }
    }

    @Test func `times pass, nobody has children, and nobody is an administrator`() throws {
        let machine = try Machine()
        machine.moment.monotonic = 12_345_678_901
        #expect(try machine.value(.getrusage, 0, word) == 0)
        #expect(try machine.word(word) == 12 && machine.word(word + 8) == 345_678)
        #expect(try machine.word(word + 32) > 0)
        #expect(try machine.value(.getrusage, UInt64.max, word) == 0)
        #expect(try machine.word(word) == 0)
        #expect(try machine.value(.getrusage, 7, word) == .error(.einval))
        #expect(try machine.value(.times, word) == 1234)
        #expect(try machine.word(word) == 1234)
        #expect(try machine.value(.wait4, UInt64.max, 0, 0, 0) == .error(.echild))
        #expect(try machine.value(.waitid) == .error(.echild))
        #expect(try machine.value(.personality, 0xFFFF_FFFF) == 0)
        #expect(try machine.value(.personality, 8) == .error(.einval))
        try machine.put(0x2008_0522, at: word)
        #expect(try machine.value(.capget, word, word + 64) == 0)
        try machine.put(7, at: word)
        #expect(try machine.value(.capget, word, word + 64) == .error(.einval))
        #expect(try machine.word(word, bytes: 4) == 0x2008_0522)
    }

    // MARK: execve

    /// A process with `/bin/true` as the machine has it, and what it needs.
    private func machine(_ more: [(path: String, bytes: [UInt8], mode: UInt16)] = []) throws -> Machine {
        let machine = try Machine(bytes: 32 << 20)
        let paths = ["/bin/true", "/lib64/ld-linux-x86-64.so.2"]
        var files = try paths.map {
            (path: $0, bytes: [UInt8](try Data(contentsOf: URL(filePath: $0))), mode: UInt16(0o755))
        }
        files += more
        let tree = FileTree(files: files.map { (path: $0.path, content: FileBytes($0.bytes), mode: $0.mode) })
        machine.process.files = ProcessFiles(tree: OverlayTree(layers: [try #require(tree)]))
        return machine
    }

    /// Puts a path and its arguments where a call takes them.
    private func put(_ path: String, _ arguments: [String], in machine: Machine) throws {
        var next = word + 0x1000
        var pointers: [UInt64] = []
        for text in [path] + arguments {
            try machine.process.space.write(Array(text.utf8) + [0], at: next, machine.memory)
            pointers.append(next)
            next += UInt64(text.utf8.count) + 1
        }
        for (index, pointer) in (pointers.dropFirst() + [0]).enumerated() {
            try machine.put(pointer, at: word + UInt64(index) * 8)
        }
    }

    @Test func `another program takes the process over`() throws {
        let machine = try machine([("bin/run", Array("#!/bin/true -x\n".utf8), 0o755)])
        try machine.makeThread()
        try machine.turn(to: 2)
        try machine.handle(.user1, at: Machine.code)
        try machine.put(1, 0, 0, 0, at: word)
        #expect(try machine.value(.rtSigaction, 12, word, 0, 8) == 0)
        try machine.put(1 << 4, at: word)
        #expect(try machine.value(.rtSigprocmask, 0, word, 0, 8) == 0)
        #expect(try machine.value(.pipe2, word, 0x80000) == 0)
        #expect(try machine.value(.dup, 1) == 5)
        try put("/bin/run", ["run", "1"], in: machine)
        #expect(try machine.call(.execve, word + 0x1000, word, 0) == .run)
        let registers = machine.processor.registers
        let linker = try ELFFile([UInt8](try Data(contentsOf: URL(filePath: "/lib64/ld-linux-x86-64.so.2"))))
        #expect(registers.rip % 4096 == linker.entry % 4096 && registers.rsp % 16 == 0 && registers.rax == 0)
        #expect(try machine.word(registers.rsp) == 4)
        let second = try machine.word(registers.rsp + 16)
        #expect(try machine.process.space.cString(at: second, limit: 99, machine.memory) == Array("-x".utf8))
        #expect(throws: Errno.efault) { try machine.word(word) }
        #expect(machine.thread == 1 && !machine.process.wantsTimeSlices)
        #expect(machine.process.threads.running.mask.bits == 1 << 4)
        #expect(machine.process.signals[.user1].handler == SignalAction.asUsual)
        #expect(machine.process.signals[.user2].handler == SignalAction.ignored)
        #expect(machine.process.files.table.numbers == [0, 1, 2, 5])
        #expect(machine.processor.fsBase == 0 && machine.processor.state == HandProcessor.freshState)
    }

    @Test func `a program over and over takes no more memory than once`() throws {
        let machine = try machine()
        var used: Set<Int> = []
        for _ in 0..<20 {
            machine.process.space.remove(word..<word + 0x2000, machine.memory)
            _ = try machine.process.mmap(.init([word, 0x2000, 3, 0x32, .max, 0]), machine.memory)
            try put("bin/true", ["true"], in: machine)
            #expect(try machine.call(.execve, word + 0x1000, word, 0) == .run)
            used.insert(machine.process.space.frames.used)
        }
        #expect(used.count <= 2, "\(used)")
    }

    @Test func `what cannot be executed leaves the process as it was`() throws {
        let machine = try machine([("plain", [1], 0o644), ("text", Array("x".utf8), 0o755)])
        let refused: [(String, Errno)] = [
            ("/none", .enoent), ("/plain", .eacces), ("/text", .enoexec), ("/bin", .eacces), ("", .enoent),
        ]
        for (path, error) in refused {
            try put(path, ["x"], in: machine)
            #expect(try machine.value(.execve, word + 0x1000, word, 0) == .error(error), "\(path)")
        }
        try put("/bin/true", ["x"], in: machine)
        #expect(try machine.value(.execve, Machine.nowhere, word, 0) == .error(.efault))
        #expect(try machine.value(.execve, word + 0x1000, Machine.nowhere, 0) == .error(.efault))
        #expect(try machine.value(.execve, word + 0x1000, .max - 7, 0) == .error(.efault))
        #expect(try machine.value(.execve, word + 0x1000, word, .max) == .error(.efault))
        // As many arguments as there is memory for pointers, all of them the same.
        for index in 0..<0x8000 as Range<UInt64> { try machine.put(word + 0x1000, at: word + 0x1_0000 + index * 8) }
        #expect(try machine.value(.execve, word + 0x1000, word + 0x1_0000, 0) == .error(.e2big))
        #expect(machine.processor.registers.rip == Machine.code)
    }

    @Test func `a program that does not fit kills the process, as it is too late then`() throws {
        let machine = try machine()
        try put("/bin/true", ["x"], in: machine)
        // All frames but a few are somebody else's.
        _ = try machine.value(.munmap, word + 0x4000, Machine.data.upperBound - word - 0x4000)
        while machine.process.space.frames.take(atMost: 64, charged: false) != nil {}
        #expect(try machine.call(.execve, word + 0x1000, word, 0) == .over(.killed(signal: 9, fault: nil)))
    }
}
