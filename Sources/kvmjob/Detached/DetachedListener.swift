// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient
internal import NIOConcurrencyHelpers

/// Listens to one detached job until it ends, or for what there is of it, and gives on each byte of its output once.
struct DetachedListener: Sendable {
    /// What happens while it listens.
    enum Event: Sendable {
        /// The worker knows the job.
        case attached(Attached)
        /// Some of its output.
        case output(OutputChunk)
        /// What has been given on is of a run that the worker's end cut short: the job began anew, and so does its output.
        case beganAnew
    }

    /// How it ended: with a result, or still under way.
    enum End: Sendable {
        case result(JobResult)
        case underWay(Attached)
    }

    let request: AttachRequest
    let connection: PatientConnection

    /// - Throws: what ``PatientConnection/run(_:)`` does, and what the receiver throws.
    func listen(_ receive: @escaping @Sendable (Event) async throws -> Void) async throws -> End {
        let position = NIOLockedValueBox(request)
        return try await connection.run { client, onProgress in
            let job = try await attach(client, position, receive)
            onProgress()
            try await receive(.attached(job.status))
            for try await chunk in job.output {
                try await receive(.output(chunk))
                onProgress()
                position.withLockedValue { $0 = job.resumption }
            }
            switch try await job.end() {
            case .result(let result): return .result(result)
            case .left(.told): return .underWay(job.status)
            case .left(.drain): throw CommandFailure.drained
            case .left(.forgotten):
                throw CommandFailure(
                    message: "job \(job.id) was forgotten meanwhile, by another command of yours or an operator's",
                    status: ExitStatus.failed)
            case .left(.asked): throw CancellationError()
            }
        }
    }

    private func attach(
        _ client: JobClient, _ position: NIOLockedValueBox<AttachRequest>,
        _ receive: @Sendable (Event) async throws -> Void
    ) async throws -> AttachedJob {
        do {
            return try await client.attach(position.withLockedValue { $0 })
        } catch let error as JobClientError where error.refusal?.name == "run-over" {
            try await receive(.beganAnew)
            position.withLockedValue { position in
                (position.run, position.offsets) = (nil, [:])
            }
            return try await client.attach(position.withLockedValue { $0 })
        }
    }
}

extension CommandFailure {
    /// A worker that lets go as it shuts down is one that comes back.
    fileprivate static var drained: CommandFailure {
        CommandFailure(
            message: "the worker is shutting down; the job goes on with the next one: try again later",
            status: ExitStatus.broken)
    }
}
