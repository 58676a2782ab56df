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
        let sinks = try files?.create()
        var presentation = Presentation(style: .collected)
        presentation.inspection = Inspection(dumps: spec.dumps)
        presentation.outputLimit = Self.inlineLimit
        var display = JobDisplay(
            image: image, name: label ?? image, presentation: presentation, console: .standard)
        let end: JobEnd
        do {
            end = .ended(try await follow(client, &display, sinks))
        } catch let error as OutputError {
            throw error
        } catch {
            end = JobEnd(error)
        }
        display.conclude(end)
        var report = display.report
        report.isOutputElsewhere = files != nil
        return report
    }

    private func follow(
        _ client: JobClient, _ display: inout JobDisplay, _ sinks: (output: ByteSink, errors: ByteSink?)?
    ) async throws -> JobResult {
        try await display.begin(spec, source)
        let job = try await submit(to: client)
        display.accept(job.acceptance)
        for try await chunk in job.output {
            switch (chunk.channel, sinks) {
            case (.console, let sinks?): try await sinks.output.write(chunk.bytes)
            case (.standardError, let sinks?): try await sinks.errors?.write(chunk.bytes)
            default: try await display.receive(chunk.channel, chunk.bytes)
            }
        }
        return try await job.result()
    }

    private func submit(to client: JobClient) async throws -> RunningJob {
        var spec = spec
        if !hasOwnWallTime { spec.budget.wallTime = client.terms.wallMaximum }
        guard let input else { return try await source.submit(spec, to: client) }
        return try await source.submit(spec, to: client, input: input, moreInput: false)
    }
}
