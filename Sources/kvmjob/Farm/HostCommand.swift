// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import Glibc
internal import JobTransport
internal import NIOCore
internal import NIOPosix

/// A program of this machine that is run to its end for what it prints: `sbatch`, `squeue` and their like.
struct HostCommand: Sendable {
    /// What a program printed, and its exit status or 128 and its signal.
    struct Answer: Sendable, Hashable {
        var status: CInt
        var output: String
        var errors: String

        /// The last thing that it had to say, for an error's message.
        var complaint: String {
            let lines = errors.split(whereSeparator: \.isNewline)
            return lines.isEmpty ? "status \(status)" : lines.suffix(3).joined(separator: "; ")
        }
    }

    /// Runs a program, which is looked for in `PATH`; there is no shell. A function, so that a test can answer in its place.
    typealias Runner = @Sendable (_ words: [String]) async throws -> Answer

    /// The most that is read of each of its streams: 64 MiB, ten times what `squeue` says of the largest array.
    static let outputLimit = 64 << 20

    /// Runs it and waits for its end, whether the task is cancelled meanwhile or not.
    ///
    /// - Throws: ``CommandFailure`` when there is no such program.
    @Sendable static func run(_ words: [String]) async throws -> Answer {
        let (output, far) = try UnixSocket.connectedPair()
        let (errors, farErrors) = try UnixSocket.connectedPair()
        let process = try await start(words, far, errors: farErrors) { [output, errors].forEach(UnixSocket.close) }
        async let printed = text(output, name: "output")
        async let said = text(errors, name: "errors")
        return Answer(status: await process.ended(), output: try await printed, errors: try await said)
    }

    /// Starts a program with sockets for its streams, which are closed here.
    ///
    /// - Throws: ``CommandFailure`` when there is no such program; `undo` was called then.
    static func start(
        _ words: [String], _ stream: CInt, errors: CInt, undo: () -> Void
    ) async throws -> ChildProcess {
        do {
            let loop = MultiThreadedEventLoopGroup.singleton.next()
            return try await ChildProcess.start(words, stream: stream, errors: errors, on: loop)
        } catch let error as ChildProcess.StartError {
            undo()
            throw CommandFailure(message: missing(error), status: ExitStatus.broken)
        }
    }

    private static func missing(_ error: ChildProcess.StartError) -> String {
        guard error.errno == ENOENT else { return "\(error.program) cannot be started: errno \(error.errno)" }
        let package =
            ["parallel": "GNU parallel (parallel)", "rsync": "rsync"][error.program]
            ?? "Slurm's commands (slurm-client)"
        return "there is no \(error.program) in PATH: install \(package)"
    }

    private static func text(_ descriptor: CInt, name: String) async throws -> String {
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        let bytes = try await DispatchQueue(label: "kvmjob.command.\(name)").perform {
            var bytes = Data()
            while let piece = try handle.read(upToCount: 1 << 16), !piece.isEmpty {
                // What is beyond the limit is read and dropped: the program must not stand still.
                if bytes.count < outputLimit { bytes += piece }
            }
            return bytes
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
