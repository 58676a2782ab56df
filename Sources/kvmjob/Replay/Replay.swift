// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVMJobClient

/// Runs recorded jobs again and compares.
struct Replay: Sendable {
    let recordings: [Recording]
    /// How often each is run.
    let times: Int
    /// One JSON object for each recording, instead of text.
    let asJSON: Bool
    let console: Console

    /// Runs all recordings, one after the other, and returns the process's exit status. Ctrl-C stops the one that runs.
    ///
    /// - Throws: ``CommandFailure`` when there is no worker, ``OutputError`` when standard output takes nothing more,
    ///   `CancellationError` after Ctrl-C.
    func run(on choice: WorkerChoice) async throws -> Int32 {
        try await WorkerConnection.with(choice) { try await replayAll($0) }
    }

    private func replayAll(_ client: JobClient) async throws -> Int32 {
        var status: Int32 = 0
        for recording in recordings {
            let finding = try await replay(recording, client)
            try await console.output.write(
                (asJSON ? finding.json.bytes : Array(finding.text.utf8)) + [UInt8(ascii: "\n")])
            status = ExitStatus.worse(status, finding.status)
        }
        return status
    }

    private func replay(_ recording: Recording, _ client: JobClient) async throws -> ReplayFinding {
        var finding = ReplayFinding(recording: recording)
        for _ in 0..<times {
            try Task.checkCancellation()
            let report = await Rerun(job: recording.job, name: recording.name).report(from: client)
            try Task.checkCancellation()
            guard finding.add(report) else { break }
        }
        return finding
    }
}

/// One more run of a recorded job.
private struct Rerun {
    let job: JobDescription
    let name: String

    func report(from client: JobClient) async -> JobReport {
        var report = JobReport(image: name, name: name, end: .lost("it has not ended"))
        do {
            report.end = .ended(try await follow(client, &report))
        } catch {
            report.end = JobEnd(error)
        }
        return report
    }

    private func follow(_ client: JobClient, _ report: inout JobReport) async throws -> JobResult {
        var spec = job.spec
        // Nobody is here to extend it.
        spec.pausesWhenStepsRunOut = false
        let running =
            if let input = job.input {
                try await client.submit(spec, image: job.image, input: input)
            } else {
                try await client.submit(spec, image: job.image)
            }
        var portWrites = PortWriteDecoder()
        for try await chunk in running.output {
            switch chunk.channel {
            case .console: report.output.append(chunk.bytes)
            case .portWrites: report.portWrites.append(portWrites.feed(chunk.bytes))
            case .memory, .trace, .standardError: break
            }
        }
        return try await running.result()
    }
}
