// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import NIOCore

/// One submission, shared by the caller's task and the event loop. Its promises are kept whatever happens to the connection.
final class JobHandle: Sendable {
    let spec: JobSpec
    let buffer: OutputBuffer
    let acceptance: EventLoopPromise<Acceptance>
    let start: EventLoopPromise<JobStart?>
    let end: EventLoopPromise<JobResult>
    /// Of a detached job that is attached to, and was not submitted here.
    let attachment: Attachment?
    private let handler: NIOLoopBound<ClientHandler>
    private let eventLoop: any EventLoop

    /// What is asked of a detached job, and what becomes of the asking.
    struct Attachment: Sendable {
        let request: AttachRequest
        let attached: EventLoopPromise<Attached>
        let end: EventLoopPromise<AttachedJob.End>
    }

    /// - Parameter request: of a job that is attached to; the spec says nothing then.
    init(
        _ spec: JobSpec, attaching request: AttachRequest? = nil, window: UInt32,
        handler: NIOLoopBound<ClientHandler>, eventLoop: any EventLoop
    ) {
        (self.spec, self.handler, self.eventLoop) = (spec, handler, eventLoop)
        attachment = request.map {
            Attachment(request: $0, attached: eventLoop.makePromise(), end: eventLoop.makePromise())
        }
        acceptance = eventLoop.makePromise()
        start = eventLoop.makePromise()
        end = eventLoop.makePromise()
        let identity = Identity()
        self.identity = identity
        buffer = OutputBuffer(window: window, counting: request?.offsets) { count in
            eventLoop.execute { handler.value.grantOutput(count, to: identity) }
        }
    }

    /// Tells one submission from another without keeping it alive.
    final class Identity: Sendable {}
    let identity: Identity

    var key: ObjectIdentifier { ObjectIdentifier(identity) }

    func submit(_ source: JobSource, firstInput: [UInt8], inputEnds: Bool) {
        eventLoop.execute {
            self.handler.value.enqueue(
                .init(handle: self, source: source, firstInput: firstInput, inputEnds: inputEnds))
        }
    }

    func attach() { eventLoop.execute { self.handler.value.enqueue(.init(attaching: self)) } }

    func leave() { eventLoop.execute { self.handler.value.leave(self) } }

    /// What the cancellation of a waiting task means: nobody wants the job any more, or, of one that is the worker's, nobody here.
    func abandon() {
        if attachment == nil { cancel() } else { leave() }
    }

    func cancel() { eventLoop.execute { self.handler.value.cancel(self) } }

    func extend(steps: UInt64) { eventLoop.execute { self.handler.value.extend(self, steps: steps) } }

    /// Completes when all of these bytes are on their way to the worker.
    func sendInput(_ bytes: [UInt8], end: Bool) -> EventLoopFuture<Void> {
        let promise = eventLoop.makePromise(of: Void.self)
        eventLoop.execute { self.handler.value.sendInput(bytes, end: end, to: self, sent: promise) }
        return promise.futureResult
    }

    /// The one end of the job: every promise that is still open is kept.
    func finish(_ result: Result<JobResult, any Error>) {
        switch result {
        case .success(let result):
            attachment?.end.succeed(.result(result))
            start.succeed(nil)
            buffer.finish(.success(nil))
        case .failure(let error):
            attachment?.attached.fail(error)
            attachment?.end.fail(error)
            acceptance.fail(error)
            start.fail(error)
            buffer.finish(.failure(error))
        }
        end.completeWith(result)
    }

    /// The worker tells no more of a job that was attached to.
    func finish(left reason: LeaveReason) {
        let error: any Error = reason == .asked ? CancellationError() : JobClientError(left: reason)
        attachment?.attached.fail(error)
        attachment?.end.succeed(.left(reason))
        start.fail(error)
        buffer.finish(.success(nil))
        end.fail(error)
    }

    /// The worker has the job for its own.
    func handOver(_ acceptance: Acceptance) {
        self.acceptance.succeed(acceptance)
        start.succeed(nil)
        buffer.finish(.success(nil))
        end.fail(JobClientError(.connectionLost, "a detached job's result is had by attaching to it"))
    }
}
