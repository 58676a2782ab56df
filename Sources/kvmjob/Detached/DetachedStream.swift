// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient
internal import NIOConcurrencyHelpers

/// A detached job's output and end, over one connection after the other, where each byte of its output is given on once.
struct DetachedStream: Sendable {
    /// What comes before the end.
    enum Event: Sendable {
        /// The worker knows the job.
        case attached(Attached)
        /// Some of its output.
        case output(OutputChunk)
        /// What has been given on is of a run that the worker's end cut short: the job began anew, and so does its output.
        case beganAnew
    }

    /// How the job ended, or how the listening did, and what the worker knew of the job as that began.
    struct End: Sendable {
        let end: AttachedJob.End
        let status: Attached
    }

    /// From where the next connection goes on.
    private let position: NIOLockedValueBox<AttachRequest>

    init(_ request: AttachRequest) { position = NIOLockedValueBox(request) }

    /// Listens over this connection, from where the last one ended.
    ///
    /// - Throws: ``JobClientError``; what the receiver throws.
    func listen(over client: JobClient, _ receive: (Event) async throws -> Void) async throws -> End {
        let job = try await attach(client, receive)
        try await receive(.attached(job.status))
        for try await chunk in job.output {
            try await receive(.output(chunk))
            position.withLockedValue { $0 = job.resumption }
        }
        return End(end: try await job.end(), status: job.status)
    }

    private func attach(_ client: JobClient, _ receive: (Event) async throws -> Void) async throws -> AttachedJob {
        do {
            return try await client.attach(position.withLockedValue(\.self))
        } catch let error as JobClientError where error.refusal?.name == "run-over" {
            try await receive(.beganAnew)
            position.withLockedValue { position in
                (position.run, position.offsets) = (nil, [:])
            }
            return try await client.attach(position.withLockedValue(\.self))
        }
    }
}
