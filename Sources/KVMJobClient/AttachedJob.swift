// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
public import JobProtocol
internal import NIOCore

/// A detached job that this program listens to. The job is the worker's own: it goes on whatever becomes of this value, of the task
/// that waits for it, or of the connection.
///
/// It is let go of by ``leave()``, by the cancellation of a task that reads its output or waits for its end, and when nobody holds it any
/// more. Only ``cancel()`` stops the job itself.
public final class AttachedJob: Sendable {
    /// How listening to a job ends.
    public enum End: Sendable, Hashable {
        /// The job has ended, and all output that was wanted has come.
        case result(JobResult)
        /// The worker tells no more, and the job goes on or is forgotten.
        case left(LeaveReason)
    }

    /// The worker's number for the job.
    public let id: UInt64
    /// Where the job was when it was attached to: its state, the run whose output comes here, its label, and what is kept of its output.
    public let status: Attached
    private let handle: JobHandle
    /// Keeps the connection open.
    private let client: JobClient

    init(_ handle: JobHandle, _ request: AttachRequest, _ status: Attached, client: JobClient) {
        (self.handle, id, self.status, self.client) = (handle, request.id, status, client)
    }

    deinit {
        handle.buffer.discard()
        handle.leave()
    }

    /// The job's output from where the request said, as it comes, until the job ends or is let go of. No more than the client's output
    /// window waits here; a job is not held up by a reader that is slow, since the worker keeps its output.
    public var output: JobOutput { JobOutput(handle: handle, owner: self) }

    /// Drops the output that has come and all that will.
    public func discardOutput() { handle.buffer.discard() }

    /// The request that goes on behind the output that has been read: after a lost connection, attach with it, and no byte comes twice.
    ///
    /// If the worker ended and the job began anew meanwhile, that request is refused as `run-over`, unless nothing had been read: what
    /// was read is of a run that does not count, and one begins again with `AttachRequest(id:)`.
    public var resumption: AttachRequest {
        var request = handle.attachment?.request ?? AttachRequest(id: id)
        (request.run, request.offsets) = (status.run, handle.buffer.bytesRead.filter { $0.value > 0 })
        return request
    }

    /// Waits for the job's end, or for whatever ends the listening before.
    ///
    /// Read ``output`` too, or call ``discardOutput()``: the result comes behind all output that the request asked for.
    ///
    /// - Throws: ``JobClientError`` when the connection ends before; the job goes on.
    public func end() async throws -> End {
        let handle = handle
        return try await withTaskCancellationHandler {
            try await handle.attachment?.end.futureResult.get() ?? .left(.asked)
        } onCancel: {
            handle.leave()
        }
    }

    /// Waits for the job's end; nil if the job was let go of before. Else as ``end()``.
    public func result() async throws -> JobResult? {
        guard case .result(let result) = try await end() else { return nil }
        return result
    }

    /// Listens no more; the job goes on. ``end()`` says `left`, unless the job's result was on its way.
    public func leave() { handle.leave() }

    /// Asks the worker to stop the job itself. Its result follows as always.
    public func cancel() { handle.cancel() }
}
