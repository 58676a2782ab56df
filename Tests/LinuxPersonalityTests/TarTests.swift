// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import SeededRandom
import Testing

@testable import LinuxPersonality

/// Archives for tests, block by block.
enum Tar {
    static func entry(
        _ name: String, type: Character = "0", link: String = "", content: [UInt8] = [], mode: String = "0000644"
    ) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, _ offset: Int) {
            for (index, byte) in text.utf8.enumerated() { block[offset + index] = byte }
        }
        put(String(name.prefix(100)), 0)
        put(mode, 100)
        put(octal(content.count), 124)
        put(octal(7), 136)
        put("        ", 148)
        put(String(type), 156)
        put(String(link.prefix(100)), 157)
        put("ustar\u{0}00", 257)
        let sum = block.reduce(0) { $0 + Int($1) }
        put(String(octal(sum).suffix(6)) + "\u{0} ", 148)
        return block + content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }

    static func octal(_ value: Int) -> String {
        let digits = String(value, radix: 8)
        return String(repeating: "0", count: 11 - digits.count) + digits
    }

    static func archive(_ entries: [UInt8]...) -> [UInt8] {
        entries.flatMap { $0 } + [UInt8](repeating: 0, count: 1024)
    }

    static func record(_ key: String, _ value: String) -> String {
        var length = key.utf8.count + value.utf8.count + 3
        while "\(length)".count + key.utf8.count + value.utf8.count + 3 != length {
            length = "\(length)".count + key.utf8.count + value.utf8.count + 3
        }
        return "\(length) \(key)=\(value)\n"
    }
}

@Suite struct TarTests {
    static let sample = Tar.archive(
        Tar.entry("bin/", type: "5", mode: "0000755"), Tar.entry("bin/tool", content: Array("one".utf8)),
        Tar.entry("bin/same", type: "1", link: "bin/tool"), Tar.entry("sh", type: "2", link: "bin/tool"),
        Tar.entry("x", type: "x", content: Array(Tar.record("path", String(repeating: "p", count: 200)).utf8)),
        Tar.entry("short", content: Array("long".utf8)),
        Tar.entry("././@LongLink", type: "L", content: Array("deep/inside/file\u{0}".utf8)), Tar.entry("cut"),
        Tar.entry("null", type: "3"))

    func text(_ path: String, _ caller: inout Caller) throws -> String {
        let descriptor = try caller.call(.open, .text(path), .number(0)).value
        guard descriptor >= 0 else { return "error \(-descriptor)" }
        let read = try caller.call(.read, .number(descriptor), .room(100), .number(100))
        return String(decoding: read.rooms[0].prefix(max(0, read.value)), as: UTF8.self)
    }

    @Test func `an archive's files, links and long names are found`() throws {
        var caller = try Caller([try FileTree(archive: Self.sample)])
        let tool = try text("/bin/tool", &caller)
        let same = try text("/bin/same", &caller)
        let link = try text("/sh", &caller)
        let long = try text("/" + String(repeating: "p", count: 200), &caller)
        let deep = try caller.call(.stat, .text("/deep/inside/file"), .room(144)).value
        let device = try caller.call(.stat, .text("/null"), .room(144)).value
        #expect([tool, same, link, long] == ["one", "one", "one", "long"])
        #expect([deep, device] == [0, -2])
    }

    @Test func `a later layer's entries hide those of an earlier one, and directories merge`() throws {
        let lower = try FileTree(
            archive: Tar.archive(Tar.entry("d/one", content: [49]), Tar.entry("d/two", content: [50])))
        let upper = try FileTree(archive: Tar.archive(Tar.entry("d/two", content: [51]), Tar.entry("d/x")))
        var caller = try Caller([lower, upper])
        let found = [try text("/d/one", &caller), try text("/d/two", &caller)]
        #expect(found == ["1", "3"])
        let removed = try caller.call(.unlink, .text("/d/one")).value
        let gone = try text("/d/one", &caller)
        #expect(removed == 0 && gone == "error 2")
        var other = try Caller([lower, upper])
        let still = try text("/d/one", &other)
        #expect(still == "1")
    }

    @Test func `names that would leave the root stay inside`() throws {
        let tree = try FileTree(
            archive: Tar.archive(Tar.entry("../../etc/x", content: [65]), Tar.entry("/abs", content: [66])))
        var caller = try Caller([tree])
        let found = [try text("/etc/x", &caller), try text("/../../abs", &caller)]
        #expect(found == ["A", "B"])
    }

    func reason(_ archive: [UInt8]) -> TarError.Reason? {
        do { _ = try FileTree(archive: archive) } catch { return error.reason }
        return nil
    }

    @Test func `what is wrong is said, with its place`() {
        #expect(reason(Array(Self.sample.prefix(700))) == .truncated)
        var damaged = Self.sample
        damaged[512 + 3] ^= 1
        do {
            _ = try FileTree(archive: damaged)
            Issue.record("a damaged header was taken")
        } catch {
            #expect(error == TarError(reason: .checksum, offset: 512))
        }
        #expect(reason(Tar.archive(Tar.entry("a", type: "1", link: "nowhere"))) == .hardLink)
        #expect(reason(Tar.archive(Tar.entry("f"), Tar.entry("f/g"))) == .notADirectory)
        #expect(reason(Tar.archive(Tar.entry("a", type: "Z"))) == .type(90))
        #expect(reason(Tar.archive(Tar.entry("l", type: "2"))) == .link)
    }

    @Test func `limits on names, depth and links hold`() {
        func pax(_ key: String, _ value: String) -> [UInt8] {
            Tar.entry("x", type: "x", content: Array(Tar.record(key, value).utf8))
        }
        let deep = String(repeating: "d/", count: FileTreeLimits.depth + 1)
        #expect(reason(Tar.archive(pax("path", deep), Tar.entry("a"))) == .tooDeep)
        #expect(reason(Tar.archive(pax("path", String(deep.dropLast(2))), Tar.entry("a", type: "5"))) == nil)
        let long = String(repeating: "./", count: FileTreeLimits.pathBytes / 2) + "a"
        #expect(reason(Tar.archive(pax("path", long), Tar.entry("a"))) == .pathTooLong)
        let target = String(repeating: "t", count: FileTreeLimits.linkBytes + 1)
        #expect(reason(Tar.archive(pax("linkpath", target), Tar.entry("a", type: "2"))) == .link)
        #expect(reason(Tar.archive(pax("path", String(repeating: "n", count: 256)), Tar.entry("a"))) == .name)
    }

    @Test func `an archive has so many entries, those that are only implied among them`() throws {
        func builder(_ limit: Int, _ names: [String]) throws(TarError) {
            var builder = FileTreeBuilder(entryLimit: limit)
            var reader = TarReader(Tar.archive(names.flatMap { Tar.entry($0, content: [1]) }))
            while let entry = try reader.next() { try builder.add(entry) }
        }
        try builder(5, ["a/b/c", "a/b/d"])
        #expect(throws: TarError(reason: .tooManyEntries, offset: 1024)) { try builder(4, ["a/b/c", "a/b/d"]) }
        // What is replaced counts too: it stays in the archive.
        #expect(throws: TarError(reason: .tooManyEntries, offset: 2048)) { try builder(3, ["a", "a", "a"]) }
    }

    @Test func `damaged archives give a tree or an error, never a trap`() {
        var numbers = SplitMix64(state: 9)
        var errors = 0
        for _ in 0..<3000 {
            var archive = Self.sample
            for _ in 0..<Int.random(in: 1...4, using: &numbers) {
                let place = Int.random(in: archive.indices, using: &numbers)
                archive[place] = UInt8.random(in: 0...255, using: &numbers)
                // Half of the time the checksum is made right again, so that what lies behind it is reached.
                if Bool.random(using: &numbers) { Self.mend(&archive, place / 512 * 512) }
            }
            if Bool.random(using: &numbers) { archive.removeLast(Int.random(in: 0..<archive.count, using: &numbers)) }
            if reason(archive) != nil { errors += 1 }
        }
        #expect(errors > 100)
    }

    static func mend(_ archive: inout [UInt8], _ start: Int) {
        for index in 148..<156 { archive[start + index] = 32 }
        let sum = archive[start..<start + 512].reduce(0) { $0 + Int($1) }
        for (index, byte) in (String(Tar.octal(sum).suffix(6)) + "\u{0} ").utf8.enumerated() {
            archive[start + 148 + index] = byte
        }
    }
}
