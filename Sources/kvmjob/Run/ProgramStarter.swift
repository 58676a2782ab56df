// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Gets a program going on a worker, in one of the ways in which that can be done.
protocol ProgramStarter: Sendable {
    /// The program as the user wrote it.
    var name: String { get }

    /// Returns when the worker has accepted the job. The program's standard input is to be sent to it.
    ///
    /// - Throws: ``CommandFailure`` for what is wrong here, and what submitting a job throws.
    func start(on client: JobClient, telling console: Console, isVerbose: Bool) async throws -> RunningJob
}

/// A program that starts anew, with its files.
struct FreshProgram: ProgramStarter {
    let options: ProgramOptions
    let limits: ProgramLimits

    var name: String { options.name }

    func start(on client: JobClient, telling console: Console, isVerbose: Bool) async throws -> RunningJob {
        let submission = try await options.submission(limit: client.terms.imageLimit, telling: console)
        if isVerbose { for warning in submission.warnings { await console.say("kvmjob: \(warning)") } }
        let spec = limits.spec(submission, hasInput: true, longest: client.terms.wallMaximum)
        let notice = UploadNotice(bytes: submission.layers.reduce(0) { $0 + $1.bytes.count }, console: console)
        return try await notice.whileSubmitting { try await client.submit(spec, files: submission.layers) }
    }
}
