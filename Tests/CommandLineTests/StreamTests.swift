// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import Testing

@testable import kvmjob

/// A file that is gone with the test.
private struct TemporaryFile {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)").path

    init(_ bytes: [UInt8]) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}

@Suite struct ByteSourceTests {
    @Test func `a file is read to its end, piece by piece`() async throws {
        let bytes = (0..<ByteSource.pieceLimit + 10).map { UInt8(truncatingIfNeeded: $0) }
        let file = try TemporaryFile(bytes)
        defer { file.remove() }
        let source = try ByteSource(path: file.path)
        #expect(try await source.next()?.count == ByteSource.pieceLimit)
        #expect(try await source.next() == Array(bytes[ByteSource.pieceLimit...]))
        #expect(try await source.next() == nil)
    }

    @Test func `a pipe gives what is there without waiting for more`() async throws {
        let pipe = Pipe()
        let source = try ByteSource(path: "/dev/fd/\(pipe.fileHandleForReading.fileDescriptor)")
        try pipe.fileHandleForWriting.write(contentsOf: Data("hello".utf8))
        #expect(try await source.next() == Array("hello".utf8))
        async let next = source.next()
        try pipe.fileHandleForWriting.write(contentsOf: Data("!".utf8))
        #expect(try await next == Array("!".utf8))
        try pipe.fileHandleForWriting.close()
        #expect(try await source.next() == nil)
    }

    @Test func `what cannot be read is told with the kernel's reason`() async throws {
        let missing = #expect(throws: SystemReason.self) { try ByteSource(path: "/nonexistent/file") }
        #expect(missing?.text == "No such file or directory")
        let directory = try ByteSource(path: "/tmp")
        let error = await #expect(throws: SystemReason.self) { try await directory.next() }
        #expect(error?.text == "Is a directory")
    }
}

@Suite struct ByteSinkTests {
    @Test func `bytes arrive unchanged and in order`() async throws {
        let pipe = Pipe()
        let sink = ByteSink(pipe.fileHandleForWriting, name: "test")
        for byte in UInt8.min...UInt8.max { try await sink.write([byte]) }
        try pipe.fileHandleForWriting.close()
        #expect(try pipe.fileHandleForReading.readToEnd() == Data(UInt8.min...UInt8.max))
    }

    @Test func `a reader that has gone is told apart from a full disk, and stays gone`() async throws {
        let pipe = Pipe()
        signal(SIGPIPE, SIG_IGN)
        try pipe.fileHandleForReading.close()
        let sink = ByteSink(pipe.fileHandleForWriting, name: "test")
        try await sink.write([])
        await #expect(throws: OutputError.closed) { try await sink.write([1]) }
        await #expect(throws: OutputError.closed) { try await sink.write([]) }

        let full = ByteSink(try #require(FileHandle(forWritingAtPath: "/dev/full")), name: "test")
        await #expect(throws: OutputError.failed("No space left on device")) { try await full.write([1]) }
    }
}

@Suite struct ImageSourceTests {
    @Test func `an image is a file's bytes or those written in hexadecimal`() async throws {
        let file = try TemporaryFile([0xF4, 0x90])
        defer { file.remove() }
        #expect(try await ImageSource(argument: file.path).load(limit: 2) == [0xF4, 0x90])
        #expect(try await ImageSource.hex("f4 90").load(limit: 2) == [0xF4, 0x90])
        #expect(ImageSource(argument: "-") == .standardInput)
    }

    @Test(arguments: [
        (ImageSource.file("/nonexistent/file"), "cannot read /nonexistent/file: No such file or directory"),
        (.file("/tmp"), "cannot read /tmp: Is a directory"), (.hex("f"), "\"f\" behind byte 0"),
    ])
    func `an image that cannot be read is refused with the reason`(source: ImageSource, reason: String) async {
        let rejection = await #expect(throws: Rejection.self) { try await source.load(limit: 10) }
        #expect(rejection?.code == "image-unreadable" && rejection?.message.contains(reason) == true)
    }

    @Test func `an endless file is refused at the worker's limit`() async {
        let rejection = await #expect(throws: Rejection.self) {
            try await ImageSource.file("/dev/zero").load(limit: 4096)
        }
        #expect(rejection?.code == "image-too-large" && rejection?.message == "/dev/zero is larger than 4 KiB")
    }
}
