// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import SeededRandom
import Testing

@testable import GuestImage

/// Whether there is a compiler for programs of this machine.
let compiler = "/usr/bin/gcc"
let hasCompiler = FileManager.default.isExecutableFile(atPath: compiler)

/// Programs that the machine's compiler makes, once for all tests.
enum CompiledProgram: String, CaseIterable {
    case fixed = "-static -no-pie"
    case relocatable = "-static-pie"
    case interpreted = "-pie"
    case interpretedFixed = "-no-pie"
    case stackWithCode = "-static -no-pie -z execstack"
    case stripped = "-pie -s"

    private static let source = """
        #include <stdio.h>
        __attribute__((noinline)) int twice(int x) { return x + x; }
        int main(int c, char **v) { printf("%d\\n", twice(c)); return 0; }
        """

    private static let all: [Self: [UInt8]] = {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: folder) }
        var programs: [Self: [UInt8]] = [:]
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            let file = folder.appendingPathComponent("a.c")
            try Data(source.utf8).write(to: file)
            for program in allCases {
                let process = Process()
                process.executableURL = URL(fileURLWithPath: compiler)
                let output = folder.appendingPathComponent("a").path
                process.arguments =
                    program.rawValue.split(separator: " ").map(String.init) + ["-O1", file.path, "-o", output]
                try process.run()
                process.waitUntilExit()
                programs[program] = [UInt8](try Data(contentsOf: URL(fileURLWithPath: output)))
                try FileManager.default.removeItem(atPath: output)
            }
        } catch {
            Issue.record("\(compiler) did not make the programs: \(error)")
        }
        return programs
    }()

    func bytes() throws -> [UInt8] { try #require(Self.all[self]) }
}

@Suite(
    "ELF files that a compiler makes", .enabled(if: hasCompiler, "needs /usr/bin/gcc: apt-get install gcc libc6-dev"))
struct CompiledELFTests {
    @Test(arguments: [
        (CompiledProgram.fixed, ELFFile.Linkage.fixed), (.relocatable, .relocatable), (.interpreted, .interpreted),
        (.interpretedFixed, .interpreted), (.stripped, .interpreted),
    ])
    func `a program is linked as the compiler was told`(program: CompiledProgram, linkage: ELFFile.Linkage) throws {
        let bytes = try program.bytes()
        let file = try ELFFile(bytes)
        #expect(file.linkage == linkage)
        #expect(file.isPositionIndependent == (program != .fixed && program != .interpretedFixed))
        #expect(!file.wantsExecutableStack)
        #expect(
            file.interpreter.map { String(decoding: $0, as: UTF8.self) }
                == (linkage == .interpreted ? "/lib64/ld-linux-x86-64.so.2" : nil))
        #expect(try ELFDynamics(file, bytes).needed == (linkage == .interpreted ? [Array("libc.so.6".utf8)] : []))
    }

    @Test(arguments: CompiledProgram.allCases)
    func `the entry is in code, the headers are in memory, and pages of the file can be mapped`(
        program: CompiledProgram
    ) throws {
        let bytes = try program.bytes()
        let file = try ELFFile(bytes)
        let code = try #require(file.segments.first { $0.address <= file.entry && file.entry < $0.end })
        #expect(code.rights == [.read, .execute])
        #expect(file.segments.contains { $0.rights == [.read, .write] && $0.memoryBytes > $0.fileBytes })
        #expect(file.segments.allSatisfy { $0.isMappable })
        #expect(file.alignment == 0x1000)
        let headers = try #require(file.programHeadersAddress.flatMap(file.offset))
        #expect(headers == 64 && file.programHeaderCount == Int(bytes[56]))
    }

    @Test func `a stack with code on it is asked for`() throws {
        #expect(try ELFFile(try CompiledProgram.stackWithCode.bytes()).wantsExecutableStack)
    }

    @Test func `a part of an array is read in place`() throws {
        let bytes = try CompiledProgram.interpreted.bytes()
        let archive = [UInt8](repeating: 7, count: 512) + bytes + [1, 2, 3]
        let part = archive[512..<512 + bytes.count]
        let file = try ELFFile(part)
        #expect(try file == ELFFile(bytes))
        #expect(try ELFDynamics(file, part) == ELFDynamics(file, bytes))
        #expect(try ELFSymbols(part).function(at: file.entry) == ELFSymbols(bytes).function(at: file.entry))
    }

    @Test(arguments: [CompiledProgram.fixed, .relocatable, .interpreted, .interpretedFixed])
    func `an address has the name of its function`(program: CompiledProgram) throws {
        let bytes = try program.bytes()
        let symbols = try ELFSymbols(bytes)
        let file = try ELFFile(bytes)
        let start = try #require(symbols.function(at: file.entry))
        #expect(start.description == "_start+0x0")
    }

    @Test(arguments: [CompiledProgram.interpreted, .interpretedFixed])
    func `every address of a function has its name, and how far in it that is`(program: CompiledProgram) throws {
        let bytes = try program.bytes()
        let symbols = try ELFSymbols(bytes)
        let file = try ELFFile(bytes)
        let code = try #require(file.segments.first { $0.address <= file.entry && file.entry < $0.end })
        let places = (code.address..<code.end).compactMap(symbols.function)
        let mains = places.filter { $0.name == "main" }
        #expect(mains.map(\.distance) == Array(0..<UInt64(mains.count)) && mains.count > 8)
        #expect(places.contains { $0.description == "twice+0x2" })
    }

    @Test func `without .symtab the names are those that others can see`() throws {
        let symbols = try ELFSymbols(try CompiledProgram.stripped.bytes())
        let entry = try ELFFile(try CompiledProgram.stripped.bytes()).entry
        #expect(symbols.function(at: entry) == nil)
        let library = [UInt8](try Data(contentsOf: URL(fileURLWithPath: "/lib64/ld-linux-x86-64.so.2")))
        let file = try ELFFile(library)
        #expect(file.linkage == .relocatable)
        #expect(try ELFDynamics(file, library).soname == Array("ld-linux-x86-64.so.2".utf8))
        let code = try #require(file.segments.first { $0.rights.contains(.execute) })
        let exported = try ELFSymbols(library)
        #expect(
            stride(from: code.address, to: code.end, by: 64).contains { address in
                exported.function(at: address)?.name.hasPrefix("_dl_") == true
            })
    }

    /// Mutations are few bytes each, mostly where the structure is, often with the numbers that break arithmetic.
    @Test func `mutated files never trap, and each is read in bounded time`() throws {
        var random = SplitMix64(state: 5)
        var outcomes: [ELFError.Rule: Int] = [:]
        var (taken, longest) = (0, Duration.zero)
        for program in [CompiledProgram.interpreted, .stripped, .interpretedFixed] {
            let original = try program.bytes()
            let sections = Int(original[40]) | Int(original[41]) << 8
            for _ in 0..<8_000 {
                var bytes = original
                mutate(&bytes, sections: sections, &random)
                let start = ContinuousClock.now
                do throws(ELFError) {
                    let file = try ELFFile(bytes)
                    #expect(zip(file.segments, file.segments.dropFirst()).allSatisfy { $0.end <= $1.address })
                    _ = try ELFDynamics(file, bytes)
                    let symbols = try ELFSymbols(bytes)
                    _ = symbols.function(at: file.entry)
                    taken += 1
                } catch {
                    #expect(!error.message.isEmpty)
                    outcomes[error.rule, default: 0] += 1
                }
                longest = max(longest, ContinuousClock.now - start)
            }
        }
        // The campaign reaches both what is taken and most of what is refused.
        #expect(taken > 2_000 && outcomes.count >= 10, "\(taken) taken, refused \(outcomes)")
        #expect(longest < .seconds(5))
    }

    private func mutate(_ bytes: inout [UInt8], sections: Int, _ random: inout SplitMix64) {
        if Int.random(in: 0..<20, using: &random) == 0 {
            bytes.removeLast(Int.random(in: 1...bytes.count, using: &random))
        }
        let numbers: [UInt64] = [0, 1, 2, 7, 0xFFFF, 1 << 31, 1 << 47, 1 << 63, .max, .max - 55]
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            guard bytes.count > 8 else { return }
            let places = [0..<64, 64..<900, 0..<bytes.count, min(sections, bytes.count - 1)..<bytes.count]
            let area = places[Int.random(in: 0..<places.count, using: &random)]
            let place = min(Int.random(in: area, using: &random), bytes.count - 8)
            if Bool.random(using: &random) {
                bytes[place] = UInt8.random(in: 0...255, using: &random)
            } else {
                let number = numbers[Int.random(in: 0..<numbers.count, using: &random)]
                let aligned = place / 8 * 8
                for index in 0..<8 { bytes[aligned + index] = UInt8(truncatingIfNeeded: number >> UInt64(index * 8)) }
            }
        }
    }
}
