// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Runs one program, with this process's standard streams as its own.
struct ProgramRun: Sendable {
    let program: any ProgramStarter
    let console: Console
    var isVerbose = false
    /// What the program reads: a file, or "-" for standard input.
    var input = "-"
    /// What may be worth a word at a terminal when it has failed.
    var hint: ProgramHint?

    /// Runs the program and returns the process's exit status. Ctrl-C stops it.
    ///
    /// - Throws: ``CommandFailure``, and ``OutputError`` when standard output fails for another reason than that nobody reads it.
    func run(on choice: WorkerChoice) async throws -> Int32 {
        do {
            return try await WorkerConnection.with(choice) { try await run($0) }
        } catch is CancellationError {
            return Interrupts.status
        } catch OutputError.closed {
            return ProgramEnd.brokenPipe
        }
    }

    private func run(_ client: JobClient) async throws -> Int32 {
        let end: JobEnd
        do {
            end = .ended(try await follow(client))
        } catch {
            end = try JobEnd(ofJob: error)
        }
        let ending = ProgramEnd(end, name: program.name, isVerbose: isVerbose)
        let advice = console.isTerminal ? hint?.line(end) : nil
        await tell(ending.lines + (advice.map { [$0] } ?? []))
        return ending.status
    }

    private func follow(_ client: JobClient) async throws -> JobResult {
        let source = try open(input)
        let job = try await program.start(on: client, telling: console, isVerbose: isVerbose)
        await WaitNotice(acceptance: job.acceptance).tell(console)
        InputFeed(source: source, job: job, console: console).start()
        for try await chunk in job.output { try await pass(chunk) }
        return try await job.result()
    }

    private func open(_ path: String) throws(Rejection) -> ByteSource {
        do {
            return try ByteSource(path: path)
        } catch {
            throw .unreadable("cannot read \(path): \(error.text)")
        }
    }

    private func pass(_ chunk: OutputChunk) async throws {
        switch chunk.channel {
        case .console: try await console.output.write(chunk.bytes)
        // Where nobody reads it any more, the program's work is still of use.
        case .standardError: try? await console.messages.write(chunk.bytes)
        case .portWrites, .memory, .trace: break
        }
    }

    /// What is said begins a line of its own.
    private func tell(_ lines: [String]) async {
        guard !lines.isEmpty else { return }
        let isWithinLine =
            !console.messages.isAtLineStart || console.isTerminal && !console.output.isAtLineStart
        await console.say((isWithinLine ? "\n" : "") + lines.joined(separator: "\n"))
    }
}
