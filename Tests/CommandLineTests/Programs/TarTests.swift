// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import SeededRandom
import Testing

@testable import kvmjob

@Suite struct TarTests {
    private let folder: ProgramFolder

    init() throws { folder = try ProgramFolder() }

    private func tree() throws -> GuestTree {
        var tree = GuestTree()
        try tree.add(.directory(mode: 0o750), at: GuestPath("/d"), in: .items)
        try tree.add(.file(.bytes(Array("hello".utf8)), mode: 0o644), at: GuestPath("/d/a"), in: .items)
        try tree.add(.file(.bytes([]), mode: 0o4755), at: GuestPath("/d/b c"), in: .items)
        let long = String(repeating: "n", count: 90)
        try tree.add(
            .file(.bytes([UInt8](repeating: 9, count: 512)), mode: 0o600), at: GuestPath("/\(long)/\(long)/é"),
            in: .items)
        try tree.add(.link(target: Array("../\(long)/\(long)".utf8)), at: GuestPath("/d/long"), in: .items)
        try tree.add(.link(target: Array("a".utf8)), at: GuestPath("/d/link"), in: .items)
        return tree
    }

    @Test func `GNU tar lists and unpacks an archive as it was meant`() throws {
        let archive = try folder.write("a.tar", tree().archive(.items))
        let list = try output(
            of: "/usr/bin/tar", "-tvf", archive, "--utc", "--quoting-style=literal", "--numeric-owner")
        #expect(list.contains("drwxr-x--- 0/0               0 1970-01-01 00:00 d/"))
        #expect(list.contains("-rwsr-xr-x 0/0               0 1970-01-01 00:00 d/b c"))
        #expect(list.split(separator: "\n").count == 6)
        try FileManager.default.createDirectory(atPath: "\(folder.path)/x", withIntermediateDirectories: true)
        _ = try output(of: "/usr/bin/tar", "-xpf", archive, "-C", "\(folder.path)/x")
        #expect(try HostFile.read("\(folder.path)/x/d/link", limit: 100) == Array("hello".utf8))
        #expect(HostFile(at: "\(folder.path)/x/d/b c")?.mode == 0o4755)
        #expect(try HostFile.read("\(folder.path)/x/d/long/é", limit: 512) == [UInt8](repeating: 9, count: 512))
    }

    @Test func `what this writes and what GNU tar writes is read the same`() throws {
        try folder.write("in/d/a", "hello")
        let long = String(repeating: "n", count: 90)
        try folder.write("in/\(long)/\(long)/é", "x")
        try folder.link("in/d/long", to: "../\(long)")
        var walked = GuestTree()
        try walked.walk("\(folder.path)/in", to: .root, in: .root)
        let own = try TarIndex(walked.archive(.root), name: "own").entries
        #expect(own.count == 6)
        for format in ["ustar", "pax", "gnu"] {
            let name = "\(folder.path)/\(format).tar"
            _ = try output(of: "/usr/bin/tar", "-cf", name, "--format=\(format)", "-C", "\(folder.path)/in", "d", long)
            let entries = try TarIndex(HostFile.read(name, limit: 1 << 20), name: format).entries
            #expect(Set(entries.map(\.path)) == Set(own.map(\.path)), "\(format)")
            for (path, node) in entries {
                #expect(own.first { $0.path == path }?.node == node, "\(format) \(path.text)")
            }
        }
    }

    @Test func `the same files are the same bytes, and tell when they were last changed`() throws {
        try folder.write("one/b", "2")
        try folder.write("one/a", "1")
        try folder.write("two/a", "1")
        try folder.write("two/b", "2")
        func change(_ name: String, at seconds: Double) throws {
            try FileManager.default.setAttributes(
                [.modificationDate: Date(timeIntervalSince1970: seconds)], ofItemAtPath: "\(folder.path)/\(name)")
        }
        for name in ["one/a", "one/b", "two/a", "two/b"] { try change(name, at: 1_000_000_000) }
        func archive(_ name: String) throws -> [UInt8] {
            var tree = GuestTree()
            try tree.walk("\(folder.path)/\(name)", to: .root, in: .root)
            return try tree.archive(.root)
        }
        #expect(try archive("one") == archive("two"))
        try change("two/a", at: 1_000_000_001)
        #expect(try archive("one") != archive("two"))
        try change("two/a", at: 1_000_000_000)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: "\(folder.path)/two/a")
        #expect(try archive("one") != archive("two"))
    }

    @Test func `an archive has a limit, and is exactly as large as it`() throws {
        let size = try UInt64(tree().archive(.items).count)
        #expect(try tree().archive(.items, limit: size).count == Int(size))
        #expect(
            failure { try tree().archive(.items, limit: size - 1) }?.message.contains("the most for one layer") == true)
        let large = try folder.write("large", [UInt8](repeating: 1, count: 2000))
        var other = GuestTree()
        try other.put(large, at: GuestPath("/x"), in: .items)
        #expect(failure { try other.archive(.items, limit: 1999) }?.message.contains("larger than") == true)
    }

    @Test func `paths have a limit, and a record counts its own digits`() throws {
        var writer = TarWriter(limit: 1 << 20) { _ in }
        let most = GuestPath(names: [[UInt8](repeating: 0x61, count: TarWriter.pathLimit)])
        try writer.addLink(most, target: [0x62])
        #expect(
            failure { try writer.addLink(GuestPath("x"), target: most.bytes + [0x61]) }?.message.contains("too long")
                == true)
        for count in [1, 85, 86, 87, 88, 89, 90, 985, 990] {
            let record = TarWriter.record("path", [UInt8](repeating: 0x61, count: count))
            #expect(String(decoding: record, as: UTF8.self).hasPrefix("\(record.count) path="), "\(count)")
        }
    }

    @Test func `damaged archives are read or refused, never more`() throws {
        let good = try tree().archive(.items)
        var (random, refused) = (SplitMix64(state: 11), 0)
        func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
        for _ in 0..<4000 {
            var archive = good
            for _ in 0..<1 + below(4) {
                let place = below(archive.count)
                archive[place] = UInt8(below(256))
                // Half of the time the checksum is made right again, so that what lies behind it is reached.
                if below(2) == 0 { Self.mend(&archive, place / 512 * 512) }
            }
            if below(2) == 0 { archive.removeLast(below(archive.count)) }
            do { _ = try TarIndex(archive, name: "x") } catch {
                refused += 1
                #expect(error.message.hasPrefix("x is no tar archive"))
            }
        }
        #expect((500..<3900).contains(refused), "\(refused)")
    }

    private static func mend(_ archive: inout [UInt8], _ start: Int) {
        for index in 148..<156 { archive[start + index] = 32 }
        let digits = String(archive[start..<start + 512].reduce(0) { $0 + Int($1) }, radix: 8)
        let field = String(repeating: "0", count: 6 - digits.count) + digits + "\u{0} "
        for (index, byte) in field.utf8.enumerated() { archive[start + 148 + index] = byte }
    }

    @Test func `an archive has so many entries, and headers that say more have so many bytes`() throws {
        let archive = try tree().archive(.items)
        #expect(try TarIndex(archive, name: "x", entryLimit: 6).entries.count == 6)
        let many = failure { try TarIndex(archive, name: "x", entryLimit: 5) }
        #expect(many?.message == "x has more than 5 entries")
        for (bytes, isTaken) in [(TarIndex.extensionLimit, true), (TarIndex.extensionLimit + 1, false)] {
            var header = [UInt8](archive[0..<512])
            header[156] = UInt8(ascii: "x")
            let size = String(bytes, radix: 8)
            for (index, byte) in (String(repeating: "0", count: 11 - size.count) + size).utf8.enumerated() {
                header[124 + index] = byte
            }
            Self.mend(&header, 0)
            let extended = header + [UInt8](repeating: 10, count: (Int(bytes) + 511) / 512 * 512) + archive
            #expect(((try? TarIndex(extended, name: "x")) != nil) == isTaken)
        }
    }

    @Test func `what is no archive is told, and what is packed with what unpacks it`() throws {
        let good = try tree().archive(.items)
        #expect(failure { try TarIndex([1, 2, 3], name: "x") }?.message.contains("x is no tar archive") == true)
        #expect(failure { try TarIndex([UInt8](repeating: 7, count: 512), name: "x") } != nil)
        let packed = [0x1F, 0x8B] + [UInt8](repeating: 7, count: 600)
        #expect(failure { try TarIndex(packed, name: "x") }?.message.contains("gunzip") == true)
        var broken = good
        broken[512 + 10] ^= 1
        #expect(failure { try TarIndex(broken, name: "x") } != nil)
        for size in [good.count / 2, 1024 + 512] { _ = try? TarIndex(Array(good.prefix(size)), name: "x") }
    }
}

@Suite struct GuestTreeTests {
    private let folder: ProgramFolder

    init() throws { folder = try ProgramFolder() }

    @Test func `a path stays in the tree`() {
        #expect(GuestPath("/a/../../b/./c//").text == "/b/c")
        #expect(
            GuestPath("..").bytes.isEmpty && GuestPath("a").parent == .root && GuestPath("a/b").parent == GuestPath("a")
        )
        #expect(GuestPath("a/b").isInside(GuestPath("a")) && !GuestPath("ab").isInside(GuestPath("a")))
        #expect(GuestPath("\u{E9}") != GuestPath("e\u{301}"), "names are bytes")
    }

    @Test func `a directory is taken as it is, and nothing outside is read`() throws {
        let secret = try folder.write("secret", "what is outside")
        try folder.write("in/d/a", "1", mode: 0o755)
        try folder.link("in/out", to: secret)
        try folder.link("in/up", to: "../secret")
        try folder.link("in/loop", to: "loop")
        try folder.link("in/dir", to: "..")
        #expect(mkfifo("\(folder.path)/in/pipe", 0o644) == 0)
        var tree = GuestTree()
        try tree.walk("\(folder.path)/in", to: .root, in: .root)
        #expect(tree.paths(.root) == ["/d/a", "/out", "/up", "/loop", "/dir"])
        #expect(tree.node(at: GuestPath("/out")) == .link(target: Array(secret.utf8)))
        #expect(tree.node(at: GuestPath("/d/a")) == .file(.host(path: "\(folder.path)/in/d/a"), mode: 0o755))
        #expect(tree.warnings.count == 1 && tree.warnings[0].hasSuffix("in/pipe is left out: it is a pipe"))
        #expect(tree.followed(GuestPath("/up")) == nil && tree.followed(GuestPath("/loop")) == nil)
        #expect(!String(decoding: try tree.archive(.root), as: UTF8.self).contains("what is outside"))
        #expect(
            failure { try tree.walk("\(folder.path)/none", to: .root, in: .root) }?.message.contains("is no directory")
                == true)
        #expect(failure { try tree.put("\(folder.path)/in/pipe", at: GuestPath("p"), in: .items) } != nil)
    }

    @Test func `a tree has so many entries, in all its layers together`() throws {
        var tree = GuestTree(entryLimit: 3)
        try tree.add(.directory(mode: 0o755), at: GuestPath("/a/b"), in: .root)
        try tree.add(.directory(mode: 0o755), at: GuestPath("/a"), in: .items)
        let message = failure { try tree.add(.directory(mode: 0o755), at: GuestPath("/c"), in: .program) }?.message
        #expect(message?.contains("more than 3 entries") == true)
    }

    @Test func `the later of two wins, and what is above hides what is below`() throws {
        var tree = GuestTree()
        let file = { (text: String) in GuestTree.Node.file(.bytes(Array(text.utf8)), mode: 0o644) }
        try tree.add(file("1"), at: GuestPath("/a/b"), in: .items)
        try tree.add(file("2"), at: GuestPath("/a/b"), in: .items)
        try tree.add(file("0"), at: GuestPath("/a/b"), in: .root)
        #expect(tree.node(at: GuestPath("/a/b")) == file("2"))
        try tree.add(file("3"), at: GuestPath("/a/b/c"), in: .items)
        #expect(tree.node(at: GuestPath("/a/b/c")) == file("3"))
        try tree.add(file("4"), at: GuestPath("/a"), in: .items)
        #expect(tree.paths(.items) == ["/a"], "what was in the directory is gone with it")
    }

    @Test func `links in a root lead where they lead in the guest`() throws {
        var tree = GuestTree()
        try tree.add(.link(target: Array("usr/lib".utf8)), at: GuestPath("/lib"), in: .root)
        try tree.add(.link(target: Array("/../lib".utf8)), at: GuestPath("/other"), in: .root)
        try tree.add(.file(.bytes([1]), mode: 0o644), at: GuestPath("/other/x"), in: .program)
        #expect(tree.paths(.program) == ["/usr/lib/x"])
        #expect(tree.followed(GuestPath("/lib/x"))?.path == GuestPath("/usr/lib/x"))
        try tree.add(.link(target: Array("l2".utf8)), at: GuestPath("/l1"), in: .root)
        try tree.add(.link(target: Array("l1".utf8)), at: GuestPath("/l2"), in: .root)
        #expect(
            failure { try tree.add(.directory(mode: 0o755), at: GuestPath("/l1/x"), in: .items) }?.message.contains(
                "lead to each other") == true)
    }

    @Test func `a file comes with the links on its way`() throws {
        try folder.write("real/a-1.0", "1")
        try folder.link("real/a", to: "a-1.0")
        try folder.link("way", to: "\(folder.path)/real")
        var tree = GuestTree()
        try tree.bring("\(folder.path)/way/../way/a", in: .program)
        #expect(tree.paths(.program) == ["\(folder.path)/way", "\(folder.path)/real/a", "\(folder.path)/real/a-1.0"])
        // Where the root has a directory of that name, it stays.
        tree = GuestTree()
        try tree.add(.directory(mode: 0o755), at: GuestPath("\(folder.path)/way"), in: .root)
        try tree.bring("\(folder.path)/way/a", in: .program)
        #expect(tree.paths(.program) == ["\(folder.path)/way/a"])
        #expect(
            failure { try tree.bring("\(folder.path)/none", in: .program) }?.message.contains("there is no") == true)
    }

    @Test func `items are files or directories, at their own path or another`() throws {
        try folder.write("d/a", "1")
        var tree = GuestTree()
        for text in ["/etc/x=\(folder.path)/d/a", "y=\(folder.path)/d", "\(folder.path)/d/a"] {
            try FileItem(argument: text).add(to: &tree)
        }
        #expect(tree.paths(.items) == ["/etc/x", "/y/a", "\(folder.path)/d/a"])
        for wrong in ["", "=a", "a=", "/=a", "a=b\u{0}"] {
            #expect(throws: ValueError.self, "\(wrong)") { try FileItem(argument: wrong) }
        }
    }
}
