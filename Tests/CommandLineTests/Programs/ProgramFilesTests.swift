// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import Testing

@testable import kvmjob

private let gcc = "/usr/bin/gcc"
private let hasGCC = FileManager.default.isExecutableFile(atPath: gcc)

/// What the dynamic linker itself says a program needs: names, without the kernel's page.
private func linkerList(_ path: String) throws -> Set<String> {
    let lines = try output(of: "/usr/bin/ldd", path).split(separator: "\n")
    let paths = lines.compactMap { line -> String? in
        let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
        return words.first { $0.hasPrefix("/") }
    }
    return Set(paths)
}

/// A path with its directory's links followed, as different ways to one file are told apart by their links only.
private func real(_ path: String) -> String? { HostFile.followed(path)?.path }

/// Starts a program of this machine's kernel with nothing but an archive as its files.
private func run(
    _ words: [String], in archive: [UInt8], _ folder: ProgramFolder
) throws -> (output: String, status: Int32) {
    let root = "\(folder.path)/guest"
    try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
    _ = try output(of: "/usr/bin/tar", "-xpf", try folder.write("guest.tar", archive), "-C", root)
    let (process, pipe) = (Process(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/usr/sbin/chroot")
    process.arguments = [root] + words
    // There is no /proc, by which the linker would find out where the program is.
    process.environment = ["LD_ORIGIN_PATH": HostFile.parent(words[0])]
    process.standardOutput = pipe
    try process.run()
    let said = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return (String(decoding: said, as: UTF8.self), process.terminationStatus)
}

@Suite struct ProgramFilesTests {
    private let folder: ProgramFolder

    init() throws { folder = try ProgramFolder() }

    @Test func `a program needs so many files, each of so many bytes`() throws {
        let count = try ProgramFiles(of: "/bin/true").paths.count
        #expect(try ProgramFiles(of: "/bin/true", fileLimit: count).paths.count == count)
        let failure = failure { try ProgramFiles(of: "/bin/true", fileLimit: count - 1) }
        #expect(failure?.message == "/bin/true needs more than \(count - 1) files")
        let size = try #require(HostFile.followed("/bin/true")?.size)
        #expect(try LinkedFile(path: "/bin/true", loader: nil, byteLimit: size).path == "/bin/true")
        #expect(throws: SystemReason.self) { try LinkedFile(path: "/bin/true", loader: nil, byteLimit: size - 1) }
    }

    @Test(arguments: [
        "/bin/true", "/bin/bash", "/usr/bin/python3", "/usr/bin/perl", "/usr/bin/tar", "/usr/bin/git", "/usr/bin/gdb",
    ])
    func `what is found for a program of this machine is what its linker loads`(program: String) throws {
        guard HostFile.followed(program) != nil else { return }
        let files = try ProgramFiles(of: program)
        #expect(files.form == .elf(.interpreted))
        #expect(files.paths.first == program)
        let found = Set(files.paths.dropFirst().compactMap(real))
        #expect(try found == Set(linkerList(program).compactMap(real)), "\(program)")
    }

    @Test(
        .enabled(if: getuid() == 0, "needs root, to start a program in a tree of its own"),
        arguments: [
            (["/bin/bash", "-c", "echo $((6 * 7)) $0", "x"], "42 x\n"), (["/bin/echo", "a", "b"], "a b\n"),
            (["/usr/bin/expr", "6", "*", "7"], "42\n"),
        ])
    func `a program runs in a tree that has just what was found`(words: [String], expected: String) throws {
        guard HostFile.followed(words[0]) != nil else { return }
        let submission = try ProgramRequest(program: words[0], arguments: Array(words.dropFirst())).submission()
        #expect(submission.layers.count == 1 && submission.program == words[0] && submission.arguments == words)
        let end = try run(words, in: submission.layers[0].bytes, folder)
        #expect(end.output == expected && end.status == 0)
    }

    @Test func `a script says who runs it`() throws {
        func form(_ line: String) throws -> ProgramFiles.Form {
            try ProgramFiles(of: try folder.write("s", line)).form
        }
        #expect(try form("#!/bin/sh\n:") == .script(interpreter: "/bin/sh", argument: nil))
        #expect(try form("#! /usr/bin/env  -S a b \r\n") == .script(interpreter: "/usr/bin/env", argument: "-S a b"))
        #expect(try form("#!\t/x\ty") == .script(interpreter: "/x", argument: "y"))
        let long = String(repeating: "x", count: ProgramFiles.scriptLineLimit + 10)
        #expect(
            try form("#!" + long)
                == .script(interpreter: String(long.prefix(ProgramFiles.scriptLineLimit)), argument: nil))
    }

    @Test func `what is no program is told`() throws {
        let text = try folder.write("t", "hello")
        #expect(failure { try ProgramFiles(of: text) }?.message.contains("is no program for Linux on x86-64") == true)
        #expect(failure { try ProgramFiles(of: folder.path) }?.message.contains("no regular file") == true)
        #expect(failure { try ProgramFiles(of: folder.path + "/none") }?.message.contains("no such file") == true)
    }
}

@Suite("Libraries where a program says", .enabled(if: hasGCC, "needs /usr/bin/gcc: apt-get install gcc libc6-dev"))
struct LibrarySearchTests {
    private let folder: ProgramFolder

    init() throws { folder = try ProgramFolder() }

    /// `bin/p` needs `liba.so`, which needs `libb.so`; each lies in a directory of its own.
    private func build(program: [String], library: [String]) throws {
        let (a, b) = ("\(folder.path)/a", "\(folder.path)/b")
        try compile("int b(void) { return 7; }", "b/libb.so", ["-shared", "-fPIC", "-Wl,-soname,libb.so"])
        try compile(
            "int b(void); int a(void) { return b(); }", "a/liba.so",
            ["-shared", "-fPIC", "-Wl,-soname,liba.so", "-L\(b)", "-lb"] + library)
        try compile(
            "int a(void); int main(void) { return a(); }", "bin/p",
            ["-L\(a)", "-la", "-Wl,-rpath-link,\(b)"] + program)
    }

    private func compile(_ source: String, _ name: String, _ flags: [String]) throws {
        let file = try folder.write("\(UUID().uuidString).c", source)
        try FileManager.default.createDirectory(
            atPath: HostFile.parent("\(folder.path)/\(name)"), withIntermediateDirectories: true)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: gcc)
        process.arguments = ["-o", "\(folder.path)/\(name)", file] + flags
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
    }

    private func found(_ environment: [String: String] = [:]) throws -> Set<String> {
        Set(try ProgramFiles(of: "\(folder.path)/bin/p", environment: environment).paths.compactMap(real))
    }

    private var both: Set<String> { ["\(folder.path)/a/liba.so", "\(folder.path)/b/libb.so"] }

    private let old = "-Wl,--disable-new-dtags", new = "-Wl,--enable-new-dtags"

    @Test func `DT_RPATH holds for all that a program loads`() throws {
        try build(program: [old, "-Wl,-rpath,$ORIGIN/../a:${ORIGIN}/../b"], library: [])
        #expect(try found().isSuperset(of: both))
        #expect(try found() == Set((linkerList("\(folder.path)/bin/p") + ["\(folder.path)/bin/p"]).compactMap(real)))
    }

    @Test func `DT_RUNPATH holds for the file itself only, and who lacks what is told`() throws {
        try build(program: [new, "-Wl,-rpath,$ORIGIN/../a:$ORIGIN/../b"], library: [])
        let error = failure { try found() }
        #expect(error?.message.contains("/a/liba.so needs \"libb.so\", which is not here: looked for ") == true)
        #expect(error?.message.contains("/libb.so") == true && error?.status == ExitStatus.cannotRun)
        #expect(try found(["LD_LIBRARY_PATH": "\(folder.path)/b"]).isSuperset(of: both))
        #expect(try found(["LD_PRELOAD": "\(folder.path)/b/libb.so"]).isSuperset(of: both))
    }

    @Test func `each library's own DT_RUNPATH is from where it is`() throws {
        try build(program: [new, "-Wl,-rpath,$ORIGIN/../a"], library: [new, "-Wl,-rpath,$ORIGIN/../b"])
        #expect(try found().isSuperset(of: both))
    }

    @Test func `LD_LIBRARY_PATH goes before DT_RUNPATH and behind DT_RPATH, and what is no library is passed by`()
        throws
    {
        try compile("int b(void) { return 8; }", "other/libb.so", ["-shared", "-fPIC", "-Wl,-soname,libb.so"])
        try folder.write("junk/liba.so", "not a library")
        let environment = ["LD_LIBRARY_PATH": "\(folder.path)/junk:\(folder.path)/other"]
        try build(program: [new, "-Wl,-rpath,$ORIGIN/../a"], library: [new, "-Wl,-rpath,$ORIGIN/../b"])
        #expect(try found(environment).contains("\(folder.path)/other/libb.so"))
        #expect(try found(environment).contains("\(folder.path)/a/liba.so"))
        try build(program: [old, "-Wl,-rpath,$ORIGIN/../a:$ORIGIN/../b"], library: [])
        #expect(try found(environment).contains("\(folder.path)/b/libb.so"))
    }

    @Test(.enabled(if: getuid() == 0, "needs root, to start a program in a tree of its own"))
    func `the linker finds in the guest's tree what was found here`() throws {
        try build(program: [new, "-Wl,-rpath,$ORIGIN/../a"], library: [new, "-Wl,-rpath,$ORIGIN/../b"])
        let submission = try ProgramRequest(program: "\(folder.path)/bin/p").submission()
        #expect(try run([submission.program], in: submission.layers[0].bytes, folder).status == 7)
    }

    @Test(.enabled(if: getuid() == 0, "needs root, to start a program in a tree of its own"))
    func `a cache that was made for libraries elsewhere is one that the linker reads`() throws {
        try build(program: [old, "-Wl,-rpath,/nonexistent"], library: [])
        var tree = GuestTree()
        for path in ["\(folder.path)/bin/p"] + Array(both) + (try ProgramFiles(of: "/bin/true").paths) {
            try tree.bring(path, in: .program)
        }
        let paths = Dictionary(uniqueKeysWithValues: both.map { (HostFile.names($0).last ?? "", $0) })
        let cache = LinkerCache(paths).encoded
        try tree.add(.file(.bytes(cache), mode: 0o644), at: GuestPath(LinkerCache.path), in: .program)
        #expect(try run(["\(folder.path)/bin/p"], in: tree.archive(.program), folder).status == 7)
    }
}

@Suite struct LinkerCacheTests {
    @Test func `this machine's cache is read as ldconfig prints it`() throws {
        let bytes = try HostFile.read(LinkerCache.path, limit: LinkerCache.byteLimit)
        let cache = try #require(LinkerCache(bytes))
        let lines = try output(of: "/sbin/ldconfig", "-p").split(separator: "\n").map(String.init)
        let printed = lines.filter { $0.contains("(libc6,x86-64)") }.compactMap { line -> String? in
            let words = line.split(separator: " ")
            return words.first.map { "\($0.trimmingCharacters(in: .whitespaces)) \(words.last ?? "")" }
        }
        let read = cache.paths.flatMap { name, paths in paths.map { "\(name) \($0)" } }
        #expect(Set(read) == Set(printed) && read.count > 10)
    }

    @Test func `a cache is written as ldconfig reads it, in its order`() throws {
        let folder = try ProgramFolder()
        let names = ["libc.so.6", "liba.so.10", "liba.so.9", "liba.so", "libab.so.1", "lib10.so", "lib9.so"]
        let cache = LinkerCache(Dictionary(uniqueKeysWithValues: names.map { ($0, "/x/\($0)") }))
        #expect(LinkerCache(cache.encoded) == cache)
        let path = try folder.write("cache", cache.encoded)
        let said = try output(of: "/sbin/ldconfig", "-p", "-C", path)
        #expect(said.hasPrefix("7 libs found"))
        for name in names { #expect(said.contains("\(name) (libc6,x86-64) => /x/\(name)")) }
        // The machine's own cache, written anew from its names, keeps ldconfig's order.
        let machine = try HostFile.read(LinkerCache.path, limit: LinkerCache.byteLimit)
        let paths = try #require(LinkerCache(machine)).paths.compactMapValues(\.first)
        let again = try folder.write("again", LinkerCache(paths).encoded)
        func order(_ arguments: [String]) throws -> [String] {
            let text =
                arguments.isEmpty
                ? try output(of: "/sbin/ldconfig", "-p") : try output(of: "/sbin/ldconfig", "-p", "-C", arguments[0])
            var seen: Set<String> = []
            return text.split(separator: "\n").filter { $0.contains("(libc6,x86-64") }
                .compactMap { $0.split(whereSeparator: \.isWhitespace).first.map(String.init) }
                .filter { paths[$0] != nil && seen.insert($0).inserted }
        }
        #expect(try order([again]) == order([]))
    }

    @Test func `bytes that are no cache are none, and no number in one leads outside`() throws {
        #expect(LinkerCache([]) == nil && LinkerCache([UInt8](repeating: 0, count: 100)) == nil)
        let good = LinkerCache(["liba.so": "/a/liba.so"]).encoded
        for count in 0..<48 { #expect(LinkerCache(Array(good.prefix(count))) == nil) }
        for place in 20..<good.count {
            for value in [0, 1, 0x7F, 0x80, 0xFF] as [UInt8] {
                var bytes = good
                bytes[place] = value
                _ = LinkerCache(bytes)
                bytes.replaceSubrange(
                    max(20, place - 3)...place, with: [UInt8](repeating: value, count: place - max(20, place - 3) + 1))
                _ = LinkerCache(bytes)
            }
        }
        var many = good
        many.replaceSubrange(20..<24, with: [1, 0, 1, 0])
        #expect(LinkerCache(many + [UInt8](repeating: 0, count: 24 * 65_537)) == nil, "one entry too many")
        let old = Array("ld.so-1.7.0\u{0}".utf8) + [1, 0, 0, 0] + [UInt8](repeating: 0, count: 12 + 4)
        #expect(LinkerCache(old + good)?.paths == ["liba.so": ["/a/liba.so"]], "behind the older format")
    }

    @Test func `the configuration names directories, and files that name more`() throws {
        let folder = try ProgramFolder()
        try folder.write("conf", "/one # first\ninclude conf.d/*.conf\ninclude more\nrelative\n/two\ninclude conf\n")
        try folder.write("conf.d/b.conf", "/b")
        try folder.write("conf.d/a.conf", "/a")
        try folder.write("conf.d/a.other", "/no")
        try folder.write("more", "/more")
        // It includes itself, which ends at the limit of files.
        let directories = LinkerConfiguration(path: "\(folder.path)/conf").directories
        #expect(
            directories.starts(with: ["/one", "/a", "/b", "/more", "/two"])
                || directories.starts(with: ["/one", "/a", "/b", "/more"]))
        #expect(directories.count < LinkerConfiguration.fileLimit * 2)
        try folder.write("conf", "/one # first\ninclude conf.d/*.conf\ninclude more\nrelative\n/two\n")
        #expect(LinkerConfiguration(path: "\(folder.path)/conf").directories == ["/one", "/a", "/b", "/more", "/two"])
    }
}
