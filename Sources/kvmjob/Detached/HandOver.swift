// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Glibc
internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Hands jobs over to a worker and prints their numbers, one a line.
struct HandOver: Sendable {
    let key: String?
    /// Whether an object is printed for each job, with `id`, `name`, `key` and `repeated`.
    let isJSON: Bool
    let console: Console

    // MARK: Images

    /// Hands over all jobs of a command line, in its order. One that is refused is told of, and the others go on.
    ///
    /// - Throws: as ``Submission/run(on:)``.
    func run(_ submission: Submission, on choice: WorkerChoice) async throws -> Int32 {
        try await WorkerConnection.with(choice) { client in
            let limit = client.terms.imageLimit
            let surroundings = await submission.loadSurroundings(limit: limit)
            let input = await Result.catching { try await read(submission.input, limit: limit) }
            var status: Int32 = 0
            for (source, stem) in submission.jobs.images {
                let image = await submission.load(source, surroundings, limit: limit)
                for repetition in 1...submission.jobs.repeats where !Task.isCancelled {
                    let name = JobList.name(stem: stem, repetition: repetition, of: submission.jobs.repeats)
                    let end = try await handOver(name) { try await detach(image.get(), name, input.get(), client) }
                    status = ExitStatus.worse(status, end)
                }
            }
            return status
        }
    }

    private func detach(
        _ image: LoadedImage, _ name: String, _ input: [UInt8]?, _ client: JobClient
    ) async throws -> Acceptance {
        guard case .image(let bytes) = image.source else { throw Rejection.snapshotDetached }
        var spec = image.spec
        spec.label = JobList.label(name)
        spec.detachment = Detachment(key: key)
        return try await client.detach(spec, image: bytes, input: input)
    }

    // MARK: Programs

    /// Hands over a program with its files. What it reads is all of standard input, unless that is a terminal: then nothing.
    func run(_ program: ProgramOptions, _ limits: ProgramLimits, on choice: WorkerChoice) async throws -> Int32 {
        try await WorkerConnection.with(choice) { client in
            let limit = client.terms.imageLimit
            let submission = try await program.submission(limit: limit, telling: console)
            return try await handOver(program.name) {
                let input = try await read(isatty(STDIN_FILENO) == 1 ? nil : "-", limit: limit)
                var spec = limits.spec(submission, hasInput: input != nil, longest: client.terms.wallMaximum)
                spec.detachment = Detachment(key: key)
                let notice = UploadNotice(bytes: submission.layers.reduce(0) { $0 + $1.bytes.count }, console: console)
                return try await notice.whileSubmitting { [spec] in
                    try await client.detach(spec, files: submission.layers, input: input)
                }
            }
        }
    }

    // MARK: Both

    /// - Returns: 0, or the status of a job that was not taken, which is told of.
    private func handOver(_ name: String, _ submit: () async throws -> Acceptance) async throws -> Int32 {
        do {
            let acceptance = try await submit()
            try await show(acceptance, name)
            return 0
        } catch {
            let end = try JobEnd(ofJob: error)
            await console.say(Verdict(report: JobReport(image: name, name: name, end: end)).line + advice(end))
            var status = ExitStatus(isOnlyJob: true)
            status.add(end)
            return status.code
        }
    }

    /// What to do about it, where somebody can.
    private func advice(_ end: JobEnd) -> String {
        switch end {
        case .lost where key == nil:
            "; the worker may have the job all the same: kvmjob ps --detached tells, and with --key trying again is safe"
        case .lost: "; try again with the same --key"
        case .refused, .ended: ""
        }
    }

    private func show(_ acceptance: Acceptance, _ name: String) async throws {
        if isJSON {
            try await console.show(
                .object([
                    ("id", .count(acceptance.id)), ("name", .string(name)), ("key", .text(key)),
                    ("repeated", .bool(acceptance.isRepeated)),
                ]))
        } else {
            try await console.show(["\(acceptance.id ?? 0)"])
        }
    }

    /// All of a file; nil for none.
    ///
    /// - Throws: ``Rejection``.
    private func read(_ path: String?, limit: UInt64) async throws -> [UInt8]? {
        guard let path else { return nil }
        let limit = min(limit, ImageSource.byteLimit)
        do {
            let bytes = try await ByteSource(path: path).readAll(limit: Int(limit) + 1)
            guard bytes.count <= limit else {
                throw Rejection(
                    code: "input-too-large",
                    message: "the input is larger than \(SizeText.approximate(limit)): a detached job's is kept, whole",
                    limit: limit)
            }
            return bytes
        } catch let reason as SystemReason {
            throw Rejection.unreadable("cannot read \(path == "-" ? "standard input" : path): \(reason.text)")
        }
    }
}
