// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import Foundation
import JobModel
import Logging
import NIOPosix
import Testing
import Worker

@testable import kvmjob

@Suite struct SnapshotCommandTests {
    @Test func `the point is ready unless another one is named`() throws {
        #expect(try SnapshotCommand.parse(["a"]).point == .ready)
        #expect(try SnapshotCommand.parse(["a", "--at-step", "0x10"]).point == .steps(16))
        #expect(try SnapshotCommand.parse(["a", "--at-address", "0"]).point == .address(0))
    }

    @Test func `the options of a start reach the job`() throws {
        let command = try SnapshotCommand.parse([
            "--hex", "f4", "--mode", "long64", "--memory", "2MiB", "--set", "rbx=1", "--steps", "9", "--deterministic",
        ])
        var expected = JobSpec(
            mode: .long64, registers: [.rbx: 1], memoryBytes: 2 << 20, budget: Budget(steps: 9))
        (expected.snapshot, expected.isDeterministic) = (.ready, true)
        #expect(try command.submission(console: .standard).spec == expected)
    }

    @Test(arguments: [
        ([String](), "Name an image"), (["a", "--hex", "f4"], "one image"),
        (["a", "--at-step", "1", "--at-address", "1"], "exclude each other"), (["a", "--at-step", "0"], "1 or more"),
        (["--memory-at", "0x1000=90"], "--entry"),
    ])
    func `wrong usage is told, with status 64`(arguments: [String], reason: String) {
        let error = #expect(throws: (any Error).self) { try SnapshotCommand.parse(arguments) }
        guard let error else { return }
        #expect(SnapshotCommand.fullMessage(for: error).contains(reason))
        #expect(SnapshotCommand.exitCode(for: error) == .validationFailure)
    }

    @Test func `without a service it is told that a snapshot lives in one, and what to start`() throws {
        let failure = #expect(throws: CommandFailure.self) { try WorkerChoice.embedded.forSnapshots() }
        #expect(failure?.status == ExitStatus.broken)
        #expect(failure?.message.contains("kvmjobd.socket") == true)
        #expect(try WorkerChoice.socket(path: "s").forSnapshots() == .socket(path: "s"))
    }
}

/// The whole way: command line, a worker that listens, virtual machines, and back.
@Suite(.enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm"), .timeLimit(.minutes(1)))
struct SnapshotSubmissionTests {
    /// mov al, 'i'; out 0xe9, al; out 0xf5, al; mov al, 'w'; out 0xe9, al; hlt
    private static let image = "b0 69 e6 e9 e6 f5 b0 77 e6 e9 f4"

    /// A worker that listens at a path of its own.
    private func serve() async throws -> (worker: Worker, path: String) {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)").path
        let worker = try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "test.start").async {
                continuation.resume(
                    with: Result {
                        try Worker(
                            configuration: WorkerConfiguration(slots: 2, jobLogging: .none),
                            group: MultiThreadedEventLoopGroup.singleton,
                            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
                    })
            }
        }
        try await worker.listen(path: path)
        return (worker, path)
    }

    private struct Shown {
        var status: Int32
        var output: String
        var messages: String
    }

    private func show(_ run: (Console) async throws -> Int32) async throws -> Shown {
        let (output, messages) = (Pipe(), Pipe())
        let console = Console(
            output: ByteSink(output.fileHandleForWriting, name: "output"),
            messages: ByteSink(messages.fileHandleForWriting, name: "messages"), isTerminal: false)
        let status = try await run(console)
        try output.fileHandleForWriting.close()
        try messages.fileHandleForWriting.close()
        let text = { (pipe: Pipe) in
            String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        }
        return Shown(status: status, output: try text(output), messages: try text(messages))
    }

    private func snapshot(_ path: String, _ arguments: String...) async throws -> Shown {
        let command = try SnapshotCommand.parse(arguments + ["--socket", path])
        return try await show { try await command.submission(console: $0).run(on: command.worker.choice) }
    }

    private func submit(_ path: String, _ arguments: String...) async throws -> Shown {
        let command = try SubmitCommand.parse(arguments + ["--socket", path])
        return try await show { try await command.submission(console: $0).run(on: command.worker.choice) }
    }

    private func object(_ output: String) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
    }

    @Test func `the name alone comes out, and jobs start from it`() async throws {
        let (worker, path) = try await serve()
        let taken = try await snapshot(path, "--hex", Self.image)
        #expect(taken.status == 0)
        let name = String(taken.output.dropLast())
        #expect(taken.output.hasSuffix("\n") && name.count == 64)
        #expect(taken.messages.hasPrefix("i"))

        let warm = try await submit(path, "--from", name)
        #expect(warm.status == 0 && warm.output == "w")
        let several = try await submit(path, "--from", name, "--repeat", "3", "--json", "--digest")
        let reports = try several.output.split(separator: "\n").map { try object(String($0)) }
        #expect(several.status == 0 && reports.count == 3)
        #expect(reports.allSatisfy { $0["output_base64"] as? String == "dw==" && $0["image"] as? String == name })
        #expect(Set(reports.compactMap { $0["digest"] as? String }).count == 1)
        await worker.drain(grace: .zero)
    }

    @Test func `as JSON it is a report with the name`() async throws {
        let (worker, path) = try await serve()
        let taken = try await snapshot(path, "--hex", Self.image, "--json", "--at-step", "2")
        let report = try object(taken.output)
        #expect(taken.status == 0 && report["outcome"] as? String == "snapshot-taken")
        let name = try #require(report["snapshot"] as? String)
        #expect((report["steps"] as? [String: Any])?["used"] as? Int == 2)
        #expect(try await submit(path, "--from", name).output == "w")
        await worker.drain(grace: .zero)
    }

    @Test func `a guest that ends before its point is a failure that is told, and no name comes out`() async throws {
        let (worker, path) = try await serve()
        let ended = try await snapshot(path, "--hex", "b0 00 e6 f4")
        #expect(ended.status == 1 && ended.output.isEmpty)
        #expect(ended.messages.contains("exited with code 0") && ended.messages.contains("before its point"))
        let unknown = try await submit(path, "--from", String(repeating: "0", count: 64))
        #expect(unknown.status == 126 && unknown.messages.contains("take it again"))
        await worker.drain(grace: .zero)
    }
}
