// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
internal import NIOCore

/// The limits under which a guest started.
public struct JobStart: Sendable, Hashable {
    /// Nanoseconds between acceptance and start, if the worker said so.
    public var queueNanoseconds: UInt64?
    /// The most steps that the guest may take, or nil if it runs unmetered.
    public var stepBudget: UInt64?
    /// The most wall time in nanoseconds, if the worker said so.
    public var wallBudgetNanoseconds: UInt64?
    /// Bytes of guest memory, if the worker said so.
    public var memoryBytes: UInt64?
}

/// A job that a worker has accepted: it ends with exactly one result.
///
/// The job belongs to the connection, not to this value: a job that nobody holds runs on, and its output is dropped. It is
/// cancelled by ``cancel()``, by the cancellation of a task that waits for it, and by the end of the connection.
public final class RunningJob: Sendable {
    /// What the worker said when it accepted the job: its own number for it, its place and how long it may wait.
    public let acceptance: Acceptance
    let handle: JobHandle
    /// Keeps the connection open.
    private let client: JobClient

    init(_ handle: JobHandle, _ acceptance: Acceptance, client: JobClient) {
        (self.handle, self.acceptance, self.client) = (handle, acceptance, client)
    }

    deinit { handle.buffer.discard() }

    /// Jobs that were likely to start before this one when it was accepted; 0 if it was next, or the worker did not say.
    public var queuePosition: Int { Int(acceptance.queuePosition ?? 0) }

    /// What the guest writes, as it writes it. Reading is what lets the guest write on.
    public var output: JobOutput { JobOutput(handle: handle, owner: self) }

    /// Drops the output that has come and all that will: for a caller who wants the result only.
    public func discardOutput() { handle.buffer.discard() }

    /// Waits until the guest starts. Nil if the job ended before, for example cancelled in the queue.
    ///
    /// - Throws: ``JobClientError`` when the connection ends before.
    public func started() async throws -> JobStart? { try await waiting { try await $0.start.futureResult.get() } }

    /// Waits for the end of the job.
    ///
    /// Read ``output`` too, before or in another task, or call ``discardOutput()``: a guest that writes more than the output
    /// window stands still until somebody reads. If the waiting task is cancelled, so is the job, and the result still comes.
    ///
    /// - Throws: ``JobClientError`` when the connection ends before the job does.
    public func result() async throws -> JobResult { try await waiting { try await $0.end.futureResult.get() } }

    /// Asks the worker to stop the job. The result follows as always: it says `cancelled`, or how the job ended if that came
    /// first.
    public func cancel() { handle.cancel() }

    /// The pauses of a job whose spec says that it pauses when its steps run out; the sequence ends with the job.
    ///
    /// A pause is given when all output that came before it has been read or dropped, so read ``output`` in another task, or call
    /// ``discardOutput()``. Answer with ``extend(steps:)``: the worker keeps the machine for `keepNanoseconds` only, and then, or
    /// if nobody looks at the pauses at all, the job ends as `steps-exhausted`. A worker that can keep no more machines ends the job
    /// so at once, without a pause. For one task: several would share the pauses between them.
    ///
    /// ```swift
    /// for await pause in job.pauses { job.extend(steps: pause.steps < 1_000_000 ? 1000 : 0) }
    /// ```
    public var pauses: AsyncStream<Pause> { handle.buffer.pauses }

    /// Lets a paused job take this many steps more; with 0 it ends as `steps-exhausted`. The job waits for a slot again.
    ///
    /// Does nothing for a job that is not paused, or not any more: its result tells.
    public func extend(steps: UInt64) { handle.extend(steps: steps) }

    /// Gives the guest bytes to read, and returns when all are on their way: the worker takes only so many ahead of the guest.
    ///
    /// - Throws: ``JobClientError`` with ``JobClientError/Code-swift.struct/inputNotTaken`` when the job has ended, when its spec
    ///   says that it has no input, or after ``finishInput()``.
    public func send(_ input: [UInt8]) async throws {
        guard !input.isEmpty else { return }
        try await waiting { try await $0.sendInput(input, end: false).get() }
    }

    /// Ends the guest's input: behind the bytes that were sent it finds the end.
    public func finishInput() async throws {
        try await waiting { try await $0.sendInput([], end: true).get() }
    }

    /// Waits for something of the job; the job is cancelled with the waiting task.
    private func waiting<T: Sendable>(_ body: @Sendable (JobHandle) async throws -> T) async throws -> T {
        let handle = handle
        return try await withTaskCancellationHandler {
            try await body(handle)
        } onCancel: {
            handle.cancel()
        }
    }
}
