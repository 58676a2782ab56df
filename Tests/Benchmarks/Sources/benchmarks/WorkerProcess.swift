// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CFloor
import Foundation

/// A worker that was built beside the benchmarks, serving a socket in a folder of its own.
final class WorkerProcess {
    private let process = Process()
    private let folder: URL
    let socketPath: String
    var identifier: Int32 { process.processIdentifier }

    private nonisolated(unsafe) static var count = 0

    /// kvmjobd.
    ///
    /// - Parameter options: beside the socket, the slots and the log's target.
    convenience init(slots: Int, spin: Duration = .zero, options: [String] = []) throws {
        let polls = spin > .zero ? ["--spin", "\(Int(spin / .microseconds(1)))us"] : []
        try self.init("kvmjobd") {
            ["--socket", $0, "--slots", "\(slots)", "--log-target", "stderr"] + polls + options
        }
    }

    /// The worker in C, with a machine for each connection.
    convenience init(floorSpinning spin: Duration) throws {
        try self.init("floor-worker") { [$0, "\(spin / .nanoseconds(1))"] }
    }

    /// Returns when the worker says that it is ready.
    private init(_ program: String, _ arguments: (String) -> [String]) throws {
        Self.count += 1
        folder = URL(fileURLWithPath: "/tmp/kvmjob-benchmarks-\(getpid())-\(Self.count)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        socketPath = folder.appendingPathComponent("worker.sock").path
        let log = Pipe()
        process.executableURL = BuiltProgram.url(program)
        process.arguments = arguments(socketPath)
        process.standardError = log
        try process.run()
        var text = ""
        while !text.contains("worker-ready") {
            let more = log.fileHandleForReading.availableData
            guard !more.isEmpty else { throw BenchmarkError("\(program) did not start: \(text)") }
            text += String(decoding: more, as: UTF8.self)
        }
    }

    func stop() throws {
        process.terminate()
        process.waitUntilExit()
        try FileManager.default.removeItem(at: folder)
    }
}

/// A program of the project that was built beside the benchmarks.
enum BuiltProgram {
    static func url(_ name: String) -> URL {
        URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appendingPathComponent(name)
    }

    /// Runs it and returns what it wrote to standard output.
    ///
    /// - Throws: ``BenchmarkError`` unless its status is 0.
    static func run(_ name: String, _ arguments: [String]) throws -> Data {
        let (process, output) = (Process(), Pipe())
        (process.executableURL, process.arguments, process.standardOutput) = (url(name), arguments, output)
        try process.run()
        let bytes = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw BenchmarkError("\(name) \(arguments.joined(separator: " ")) ended with \(process.terminationStatus)")
        }
        return bytes
    }
}

/// `StaticHello/hello.c` as a static program, compiled for this run.
enum StaticHello {
    static func compile() throws -> String {
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../StaticHello/hello.c").standardizedFileURL
        let output = "/tmp/kvmjob-benchmarks-hello-\(getpid())"
        let compiler = Process()
        compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        compiler.arguments = ["cc", "-O2", "-static", "-o", output, source.path]
        try compiler.run()
        compiler.waitUntilExit()
        guard compiler.terminationStatus == 0 else {
            throw BenchmarkError("cc -static failed: a C compiler and a static C library are needed")
        }
        return output
    }

    /// Fork, exec, its output read and its end waited for: what a judge without machines does for each job.
    static func subject(_ program: String, times: Int) -> Subject {
        Subject(name: "fork and exec of a static program", unit: "processes") {
            try rate(of: times) { for _ in 0..<times { try start(program) } }
        }
    }

    private static func start(_ program: String) throws {
        var output = [UInt8](repeating: 0, count: 64)
        let count = try check(floor_fork(program, &output, UInt64(output.count)), "fork")
        guard output.prefix(Int(count)) == Guest.helloText[...] else {
            throw BenchmarkError("the program printed \(output)")
        }
    }
}
