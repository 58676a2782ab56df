// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Listens to one detached job until it ends, or for what there is of it, through the worker's restarts.
struct DetachedListener: Sendable {
    /// How it ended: with a result, or still under way.
    enum End: Sendable {
        case result(JobResult)
        case underWay(Attached)
    }

    let request: AttachRequest
    let connection: PatientConnection

    /// - Throws: what ``PatientConnection/run(_:)`` does, and what the receiver throws.
    func listen(_ receive: @escaping @Sendable (DetachedStream.Event) async throws -> Void) async throws -> End {
        let stream = DetachedStream(request)
        let id = request.id
        return try await connection.run { client, onProgress in
            let found = try await stream.listen(over: client) { event in
                try await receive(event)
                onProgress()
            }
            switch found.end {
            case .result(let result): return .result(result)
            case .left(.told): return .underWay(found.status)
            case .left(.drain): throw CommandFailure.drained
            case .left(.forgotten):
                throw CommandFailure(
                    message: "job \(id) was forgotten meanwhile, by another command of yours or an operator's",
                    status: ExitStatus.failed)
            case .left(.asked): throw CancellationError()
            }
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
