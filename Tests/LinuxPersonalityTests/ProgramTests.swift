// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import GuestImage
import KVM
import SeededRandom
import Testing

@testable import LinuxPersonality

/// A 64-bit executable made by hand: code at 0x401000, and data at 0x403f00 of which the last bytes are not in the file.
private struct SmallProgram {
    static let entry: UInt64 = 0x40_1010
    static let data: UInt64 = 0x40_3F00
    static let fileBytes = 0x180
    static let memoryBytes = 0x3000

    var isPositionIndependent = false
    var interpreter: String?

    var bytes: [UInt8] {
        var file = [UInt8](repeating: 0, count: 0x3000)
        func put(_ value: UInt64, _ count: Int, at offset: Int) {
            for index in 0..<count { file[offset + index] = UInt8(truncatingIfNeeded: value >> (index * 8)) }
        }
        let base: UInt64 = isPositionIndependent ? 0x40_0000 : 0
        file.replaceSubrange(0..<7, with: [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1])
        put(isPositionIndependent ? 3 : 2, 2, at: 16)
        put(62, 2, at: 18)
        put(1, 4, at: 20)
        put(Self.entry - base, 8, at: 24)
        put(64, 8, at: 32)
        put(64, 2, at: 52)
        put(56, 2, at: 54)
        put(interpreter == nil ? 2 : 3, 2, at: 56)
        func header(
            _ number: Int, kind: UInt64, rights: UInt64, _ offset: Int, _ address: UInt64, _ size: Int, _ memory: Int
        ) {
            let at = 64 + number * 56
            put(kind, 4, at: at)
            put(rights, 4, at: at + 4)
            put(UInt64(offset), 8, at: at + 8)
            put(address &- base, 8, at: at + 16)
            put(address &- base, 8, at: at + 24)
            put(UInt64(size), 8, at: at + 32)
            put(UInt64(memory), 8, at: at + 40)
            put(4096, 8, at: at + 48)
        }
        header(0, kind: 1, rights: 5, 0, 0x40_0000, 0x1800, 0x1800)
        header(1, kind: 1, rights: 6, 0x1F00, Self.data, Self.fileBytes, Self.memoryBytes)
        if let interpreter {
            header(2, kind: 3, rights: 4, 0x800, 0x40_0800, interpreter.utf8.count + 1, interpreter.utf8.count + 1)
            file.replaceSubrange(0x800..<0x800 + interpreter.utf8.count, with: Array(interpreter.utf8))
        }
        for index in 0x1000..<0x1800 { file[index] = UInt8(truncatingIfNeeded: index * 7) }
        // Behind the segment's bytes in the file there are others.
        for index in 0x1F00..<0x3000 { file[index] = 0xDA }
        return file
    }
}

@Suite struct ProgramTests {
    private func process(_ files: [(path: String, bytes: [UInt8], mode: UInt16)], memory bytes: UInt64 = 16 << 20)
        throws -> ProcessMemory
    {
        let program = try ProcessMemory(bytes: bytes)
        let tree = FileTree(files: files.map { (path: $0.path, content: FileBytes($0.bytes), mode: $0.mode) })
        program.process.files = ProcessFiles(tree: OverlayTree(layers: [try #require(tree)]))
        return program
    }

    private func words(_ program: ProcessMemory, _ address: UInt64, _ count: Int) throws -> [UInt64] {
        let bytes = try program.read(address, count * 8)
        return (0..<count).map { word in (0..<8).reduce(0) { $0 | UInt64(bytes[word * 8 + $1]) << ($1 * 8) } }
    }

    private func text(_ program: ProcessMemory, _ address: UInt64) throws -> String {
        String(decoding: try program.process.space.cString(at: address, limit: 4096, program.memory), as: UTF8.self)
    }

    @Test(arguments: [false, true]) func `segments are where the file wants them, zeros behind its bytes`(moves: Bool)
        throws
    {
        let image = SmallProgram(isPositionIndependent: moves).bytes
        let program = try process([("bin/small", image, 0o755)])
        let start = try program.process.load(Program(path: Array("/bin/small".utf8), arguments: [[]]), program.memory)
        let bias: UInt64 = moves ? 0x5555_5555_4000 &- 0x40_0000 : 0
        #expect(start.entry == SmallProgram.entry &+ bias)
        #expect(try program.read(0x40_1000 &+ bias, 0x800) == Array(image[0x1000..<0x1800]))
        let data = SmallProgram.data &+ bias
        #expect(try program.read(data, SmallProgram.fileBytes).allSatisfy { $0 == 0xDA })
        let rest = SmallProgram.memoryBytes - SmallProgram.fileBytes
        #expect(try program.read(data + UInt64(SmallProgram.fileBytes), rest).allSatisfy { $0 == 0 })
        #expect(throws: Errno.efault) { try program.write([1], 0x40_1000 &+ bias) }
        try program.write([1], data)
        // The heap follows the last segment.
        #expect(program.call(.brk, 0) == Int64(bitPattern: (data + UInt64(SmallProgram.memoryBytes) + 4095) & ~4095))
        program.audit()
    }

    @Test func `the stack has arguments, environment and what the program is told of itself`() throws {
        let program = try process([("small", SmallProgram().bytes, 0o755)])
        program.process.random = RandomStream(seed: [1])
        var random = program.process.random
        let start = try program.process.load(
            Program(
                path: Array("/small".utf8), arguments: [Array("small".utf8), Array("a b".utf8)],
                environment: [Array("HOME=/".utf8)]),
            program.memory)
        #expect(start.stackPointer % 16 == 0)
        let stack = try words(program, start.stackPointer, 46)
        #expect(stack[0] == 2 && stack[3] == 0 && stack[5] == 0)
        #expect(
            try [text(program, stack[1]), text(program, stack[2]), text(program, stack[4])] == [
                "small", "a b", "HOME=/",
            ])
        let auxiliary = Dictionary(
            stride(from: 6, to: 46, by: 2).prefix { stack[$0] != 0 }.map { (stack[$0], stack[$0 + 1]) },
            uniquingKeysWith: { $1 })
        #expect(
            auxiliary[3] == 0x40_0040 && auxiliary[4] == 56 && auxiliary[5] == 2 && auxiliary[9] == SmallProgram.entry)
        #expect(auxiliary[6] == 4096 && auxiliary[7] == 0 && auxiliary[11] == 1000 && auxiliary[23] == 0)
        #expect(try program.read(try #require(auxiliary[25]), 16) == random.bytes(16))
        #expect(try text(program, try #require(auxiliary[31])) == "/small")
        #expect(try text(program, try #require(auxiliary[15])) == "x86_64")
    }

    @Test func `a real dynamic program starts in its dynamic linker`() throws {
        let paths = ["/bin/true", "/lib64/ld-linux-x86-64.so.2"]
        let files = try paths.map {
            (path: $0, bytes: [UInt8](try Data(contentsOf: URL(filePath: $0))), mode: UInt16(0o755))
        }
        let program = try process(files)
        let start = try program.process.load(
            Program(path: Array("/bin/true".utf8), arguments: [Array("true".utf8)]), program.memory)
        let linker = try ELFFile(files[1].bytes)
        let stack = try words(program, start.stackPointer, 44)
        let base = try #require(stride(from: 4, to: 44, by: 2).first { stack[$0] == 7 }.map { stack[$0 + 1] })
        #expect(start.entry == base + linker.entry)
        let offset = try #require(linker.offset(of: linker.entry))
        #expect(try program.read(start.entry, 32) == Array(files[1].bytes[Int(offset)..<Int(offset) + 32]))
        #expect(throws: Errno.efault) { try program.write([1], start.entry) }
        program.audit()
    }

    @Test func `a script is run by what it names, with one argument of its own at most`() throws {
        let script = Array("#! /bin/small  -x y \nrest".utf8)
        let program = try process([("bin/small", SmallProgram().bytes, 0o755), ("run", script, 0o755)])
        let start = try program.process.load(
            Program(path: Array("/run".utf8), arguments: [Array("run".utf8), Array("1".utf8)]), program.memory)
        let stack = try words(program, start.stackPointer, 6)
        #expect(stack[0] == 4)
        #expect(try (1...4).map { try text(program, stack[$0]) } == ["/bin/small", "-x y", "/run", "1"])
    }

    @Test(arguments: [
        ("/none", "ENOENT"), ("/plain", "EACCES"), ("/directory", "EACCES"), ("/text", "ENOEXEC"), ("/circle", "ELOOP"),
        ("/lost", "ENOENT"),
        ("/wrong", "ENOEXEC"), ("/small/x", "ENOTDIR"),
    ])
    func `what cannot be started is refused by name`(path: String, code: String) throws {
        let program = try process([
            ("plain", SmallProgram().bytes, 0o644), ("directory/file", [1], 0o644),
            ("text", Array("hello".utf8), 0o755),
            ("circle", Array("#!/circle".utf8), 0o755), ("lost", SmallProgram(interpreter: "/no/linker").bytes, 0o755),
            ("wrong", SmallProgram(interpreter: "/small").bytes, 0o755), ("small", SmallProgram().bytes, 0o755),
        ])
        do {
            _ = try program.process.load(Program(path: Array(path.utf8), arguments: [[]]), program.memory)
            Issue.record("it was started")
        } catch {
            #expect(error.code == code && !error.message.isEmpty, "\(error.message)")
        }
    }

    @Test func `arguments beyond the limit, and a program beyond the memory, are refused`() throws {
        let small = [("small", SmallProgram().bytes, UInt16(0o755))]
        func load(_ bytes: Int, memory: UInt64) throws(ProgramError) {
            let argument = [UInt8](repeating: 0x61, count: bytes - 9)
            guard let program = try? process(small, memory: memory) else { return }
            _ = try program.process.load(Program(path: Array("/small".utf8), arguments: [argument]), program.memory)
        }
        try load(Program.argumentBytesLimit, memory: 16 << 20)
        #expect(throws: ProgramError.self) { try load(Program.argumentBytesLimit + 1, memory: 16 << 20) }
        do { try load(100, memory: 256 << 10) } catch { #expect(error.code == "ENOMEM") }
        #expect(throws: ProgramError.self) { try load(100, memory: 256 << 10) }
    }

    @Test func `damaged programs are loaded or refused, never more`() throws {
        var random = SplitMix64(state: 7)
        let image = SmallProgram().bytes
        var loaded = 0
        for _ in 0..<2000 {
            var damaged = image
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                damaged[Int.random(in: 0..<192, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            let program = try process([("small", damaged, 0o755)], memory: 2 << 20)
            do throws(ProgramError) {
                _ = try program.process.load(Program(path: Array("/small".utf8), arguments: [[]]), program.memory)
                loaded += 1
            } catch { #expect(!error.message.isEmpty) }
        }
        #expect((100..<1900).contains(loaded), "\(loaded) of 2000")
    }
}
