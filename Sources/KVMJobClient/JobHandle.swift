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
    private let handler: NIOLoopBound<ClientHandler>
    private let eventLoop: any EventLoop

    init(_ spec: JobSpec, window: UInt32, handler: NIOLoopBound<ClientHandler>, eventLoop: any EventLoop) {
        (self.spec, self.handler, self.eventLoop) = (spec, handler, eventLoop)
        acceptance = eventLoop.makePromise()
        start = eventLoop.makePromise()
        end = eventLoop.makePromise()
        let identity = Identity()
        self.identity = identity
        buffer = OutputBuffer(window: window) { count in
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
        case .success:
            start.succeed(nil)
            buffer.finish(.success(nil))
        case .failure(let error):
            acceptance.fail(error)
            start.fail(error)
            buffer.finish(.failure(error))
        }
        end.completeWith(result)
    }
}
