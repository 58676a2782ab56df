// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
internal import JobProtocol
internal import NIOCore

/// Jobs that outlive the connection.
///
/// A detached job is the worker's from its acceptance on: it waits, runs and ends without the client, survives the worker, and its output
/// and its result are kept until ``forget(_:)`` or the worker's retention takes them. A worker without a store refuses such jobs as
/// `detach-unavailable`.
extension JobClient {
    /// Hands a job over, and returns when the worker has it for good.
    ///
    /// The spec's ``JobModel/JobSpec/detachment`` can name a key. Then handing the same job over again, after a connection that was lost
    /// before the answer came, is the same job: ``JobModel/Acceptance/isRepeated`` tells, and ``JobModel/Acceptance/id`` is the number that
    /// it got first. The input is sent whole, whatever the job reads of it.
    ///
    /// - Returns: what the worker says of the job; `id` is never nil, and is what all else about the job is asked by.
    /// - Throws: ``JobClientError``. When the connection is lost, the worker may have the job all the same: a key makes trying again safe.
    ///   `CancellationError` when the task was cancelled before the worker had all of the job; it is not kept then.
    public func detach(_ spec: JobSpec, image: Image, input: [UInt8]? = nil) async throws -> Acceptance {
        try await detach(spec, .image(image.digest == nil ? image.hashed : image), input)
    }

    /// The same for a Linux program and its files, as ``submit(_:files:)`` has them.
    public func detach(_ spec: JobSpec, files: [Image], input: [UInt8]? = nil) async throws -> Acceptance {
        try await detach(spec, .program(files.map(\.hashed)), input)
    }

    private func detach(_ spec: JobSpec, _ source: JobSource, _ input: [UInt8]?) async throws -> Acceptance {
        var spec = spec
        spec.detachment = spec.detachment ?? Detachment()
        spec.hasInput = input != nil
        let handle = JobHandle(spec, window: outputWindow, handler: handler, eventLoop: channel.eventLoop)
        handle.submit(source, firstInput: input ?? [], inputEnds: true)
        let acceptance = try await withTaskCancellationHandler {
            try await handle.acceptance.futureResult.get()
        } onCancel: {
            handle.cancel()
        }
        guard acceptance.id != nil else {
            throw JobClientError(.protocolViolation, "the worker accepted a detached job and did not say its number")
        }
        return acceptance
    }

    /// Listens to a detached job of this user's, whoever handed it over and on whatever connection.
    ///
    /// While as many jobs of this connection are in flight as the worker allows, the request waits here.
    ///
    /// - Throws: ``JobClientError``: refused as `job-unknown` for a job that the worker does not keep, or not for this user; as `run-over`
    ///   where the request's offsets are of a run that was cut short. `CancellationError` when the task was cancelled.
    public func attach(_ request: AttachRequest) async throws -> AttachedJob {
        let handle = JobHandle(
            JobSpec(), attaching: request, window: outputWindow, handler: handler, eventLoop: channel.eventLoop)
        handle.attach()
        return try await withTaskCancellationHandler {
            guard let attached = try await handle.attachment?.attached.futureResult.get() else {
                throw CancellationError()
            }
            return AttachedJob(handle, request, attached, client: self)
        } onCancel: {
            handle.leave()
        }
    }
}
