// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Runs one program, with this process's standard streams as its own.
struct ProgramRun: Sendable {
    let options: ProgramOptions
    let limits: ProgramLimits
    let console: Console
    var isVerbose = false
    /// What the program reads: a file, or "-" for standard input.
    var input = "-"

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
        let submission = try await options.submission(limit: client.terms.imageLimit)
        if isVerbose { for warning in submission.warnings { await console.say("kvmjob: \(warning)") } }
        let spec = limits.spec(submission, hasInput: true, longest: client.terms.wallMaximum)
        let end: JobEnd
        do {
            end = .ended(try await follow(spec, submission.layers, client))
        } catch let error as OutputError {
            throw error
        } catch {
            end = JobEnd(error)
        }
        let program = ProgramEnd(end, name: options.name, isVerbose: isVerbose)
        await tell(program.lines)
        return program.status
    }

    private func follow(_ spec: JobSpec, _ files: [Image], _ client: JobClient) async throws -> JobResult {
        let source = try open(input)
        let notice = UploadNotice(bytes: files.reduce(0) { $0 + $1.bytes.count }, console: console)
        let job = try await notice.whileSubmitting { try await client.submit(spec, files: files) }
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
