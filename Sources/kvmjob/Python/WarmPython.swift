// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// A script whose interpreter goes on from where the worker has kept it.
struct WarmPython: ProgramStarter {
    let interpreter: String
    let script: PythonScript
    let limits: ProgramLimits
    let choice: WorkerChoice
    /// Whether what the worker has kept is passed over.
    let isFresh: Bool

    var name: String { script.name }

    /// How long an interpreter may take to start: 60 s.
    private static let startTime = Duration.seconds(60)

    func start(on client: JobClient, telling console: Console, isVerbose: Bool) async throws -> RunningJob {
        let header = try await Self.files.perform(script.header)
        let notes = KeptInterpreters(choice)
        let place = try await Self.files.perform { () throws(CommandFailure) in
            try InterpreterPlace(interpreter, limits: limits)
        }
        if !isFresh, let kept = notes?.name(of: place), let job = try await start(header, from: kept, client) {
            return job
        }
        let name = try await keepInterpreter(place, client, console)
        notes?.note(name, of: place)
        guard let job = try await start(header, from: name, client) else {
            throw CommandFailure(
                message:
                    "the worker has given up the interpreter that it has just kept: it needs more room for snapshots",
                status: ExitStatus.broken)
        }
        return job
    }

    private static var files: DispatchQueue { DispatchQueue(label: "kvmjob.files") }

    /// - Returns: nil if the worker has no such interpreter any more.
    private func start(_ header: [UInt8], from name: ContentDigest, _ client: JobClient) async throws -> RunningJob? {
        var spec = JobSpec(label: JobList.label(script.name), budget: limits.budget(longest: client.terms.wallMaximum))
        spec.hasInput = true
        limits.queue.apply(to: &spec)
        do {
            return try await client.submit(spec, from: name, input: header, moreInput: true)
        } catch let error as JobClientError where error.refusal?.code == ErrorCode.snapshotUnknown.rawValue {
            return nil
        }
    }

    /// Starts an interpreter and has the worker keep it where it is ready for a script.
    private func keepInterpreter(
        _ place: InterpreterPlace, _ client: JobClient, _ console: Console
    ) async throws -> ContentDigest {
        let limit = client.terms.imageLimit
        let submission = try await Self.files.perform { () throws(CommandFailure) in
            try PythonFiles(installation: try PythonInstallation.ask(place.path))
                .submission(arguments: PythonBootstrap.arguments, limit: limit)
        }
        var spec = limits.spec(submission, hasInput: false, longest: client.terms.wallMaximum)
        spec.budget = Budget(wallTime: min(Self.startTime, client.terms.wallMaximum))
        (spec.snapshot, spec.label) = (.ready, JobList.label("python"))
        // Of a job that may not wait, the start of its interpreter may.
        spec.waitLimit = nil
        let order = spec
        let notice = UploadNotice(bytes: submission.layers.reduce(0) { $0 + $1.bytes.count }, console: console)
        let job = try await notice.whileSubmitting { try await client.submit(order, files: submission.layers) }
        var complaint: [UInt8] = []
        for try await chunk in job.output where chunk.channel == .standardError { complaint += chunk.bytes }
        let result = try await job.result()
        guard case .snapshotTaken(let name) = result.outcome else {
            throw CommandFailure(
                message: "\(place.path) did not get ready in a virtual machine (\(result.outcome.name))"
                    + (complaint.isEmpty ? "" : ": \(String(decoding: complaint.prefix(1000), as: UTF8.self))"),
                status: ExitStatus.cannotRun)
        }
        return name
    }
}
