// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

extension BatchJob {
    /// The most bytes of a guest's output, and of its standard error, that a results line holds: 1 MiB each. As many lines may be in
    /// the making as jobs are in flight. With files there is no such limit.
    static let inlineLimit = 1 << 20

    /// Runs the job and waits for its end, whatever that is.
    ///
    /// - Parameter files: where its output goes instead of into the report.
    /// - Throws: ``OutputError`` and ``CommandFailure`` when one of the files cannot be written.
    func run(on client: JobClient, files: OutputFiles? = nil) async throws -> JobReport {
        var output = try await BatchJobOutput(self, files)
        let end: JobEnd
        do {
            let job = try await submit(to: client)
            output.accept(job.acceptance)
            for try await chunk in job.output { try await output.receive(chunk) }
            end = .ended(try await job.result())
        } catch {
            end = try JobEnd(ofJob: error)
        }
        return output.concluded(end)
    }

    private func submit(to client: JobClient) async throws -> RunningJob {
        let spec = spec(for: client)
        guard let input else { return try await source.submit(spec, to: client) }
        return try await source.submit(spec, to: client, input: input, moreInput: false)
    }

    /// Hands the job over to the worker, where its id is its key: handing it over again is the same job.
    func handOver(to client: JobClient) async throws -> Acceptance {
        var spec = spec(for: client)
        spec.detachment = Detachment(key: id)
        switch source {
        case .image(let image): return try await client.detach(spec, image: image, input: input)
        case .program(let layers): return try await client.detach(spec, files: layers, input: input)
        case .snapshot: throw Rejection.snapshotDetached
        }
    }

    private func spec(for client: JobClient) -> JobSpec {
        var spec = spec
        if !hasOwnWallTime { spec.budget.wallTime = client.terms.wallMaximum }
        return spec
    }
}

/// What one job of a batch writes, gathered for its results line or written to files.
struct BatchJobOutput {
    private let job: BatchJob
    /// Where it is written, if anywhere.
    let files: OutputFiles?
    private let sinks: (output: ByteSink, errors: ByteSink?)?
    private var display: JobDisplay

    /// With nothing in it; files that are there become empty.
    ///
    /// - Throws: ``CommandFailure`` when a file cannot be written.
    init(_ job: BatchJob, _ files: OutputFiles?) async throws {
        (self.job, self.files) = (job, files)
        sinks = try files?.create()
        var presentation = Presentation(style: .collected)
        presentation.inspection = Inspection(dumps: job.spec.dumps)
        presentation.outputLimit = BatchJob.inlineLimit
        display = JobDisplay(
            image: job.image, name: job.label ?? job.image, presentation: presentation, console: .standard)
        try await display.begin(job.spec, job.source)
    }

    mutating func accept(_ acceptance: Acceptance) { display.accept(acceptance) }

    /// - Throws: ``OutputError``.
    mutating func receive(_ chunk: OutputChunk) async throws {
        switch (chunk.channel, sinks) {
        case (.console, let sinks?): try await sinks.output.write(chunk.bytes)
        case (.standardError, let sinks?): try await sinks.errors?.write(chunk.bytes)
        default: try await display.receive(chunk.channel, chunk.bytes)
        }
    }

    /// All of it, with how the job ended.
    consuming func concluded(_ end: JobEnd) -> JobReport {
        display.conclude(end)
        var report = display.report
        report.isOutputElsewhere = files != nil
        return report
    }
}
