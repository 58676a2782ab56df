// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
internal import NIOConcurrencyHelpers

/// Some bytes of a guest's output.
public struct OutputChunk: Sendable, Hashable {
    /// Where the guest wrote them.
    public var channel: OutputChannel
    /// The bytes. On ``OutputChannel/portWrites`` a record of `PortWrite` can continue in the next chunk.
    public var bytes: [UInt8]

    /// A chunk, as in a program's own tests of what it makes of output.
    public init(channel: OutputChannel, bytes: [UInt8]) { (self.channel, self.bytes) = (channel, bytes) }
}

/// A job's output in the order in which the guest wrote it. It ends with the job, or when a detached job is let go of.
///
/// Reading is what lets the guest write on: no more than the client's output window waits here, and a guest whose window is full
/// stands still while its wall-time budget runs. Several readers share the chunks between them.
///
/// A reader whose task is cancelled cancels the job, or lets go of one that it is attached to; the sequence then ends when the worker has
/// stopped it.
public struct JobOutput: AsyncSequence, Sendable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public typealias Element = OutputChunk

    /// Reads a job's output.
    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let handle: JobHandle
        fileprivate let owner: any Sendable

        /// The next bytes, or nil when the job has ended and everything was read.
        ///
        /// - Throws: ``JobClientError`` when the connection ended before the job did.
        public mutating func next() async throws -> OutputChunk? {
            let handle = handle
            return try await withTaskCancellationHandler {
                try await handle.buffer.next()
            } onCancel: {
                handle.abandon()
            }
        }
    }

    let handle: JobHandle
    /// The job, which is not let go of as long as somebody reads.
    let owner: any Sendable

    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(handle: handle, owner: owner) }
}

/// The output that has come and was not read. Bounded by the window, since what is not read gives no credit back.
final class OutputBuffer: Sendable {
    private typealias Waiter = CheckedContinuation<OutputChunk?, any Error>

    private struct State {
        var chunks: [OutputChunk] = []
        var waiters: [Waiter] = []
        var end: Result<OutputChunk?, any Error>?
        /// A pause that nobody was told of, since output before it was not read.
        var pause: Pause?
        var isDiscarding = false
        /// Bytes that were read and whose credit was not given back.
        var owed = 0
        /// How many bytes of each channel were read, where that is counted.
        var read: [OutputChannel: UInt64]?
    }

    private let state = NIOLockedValueBox(State())
    /// Credit goes back in pieces of this many bytes: a frame for each chunk would be a frame for each byte of a slow guest.
    private let creditStep: Int
    private let giveCredit: @Sendable (Int) -> Void
    /// The job's pauses, each when a reader has come to the place in the output where it happened. Only the newest matters: the
    /// job does not go on before it is answered.
    let pauses: AsyncStream<Pause>
    private let tellPause: AsyncStream<Pause>.Continuation

    /// - Parameters:
    ///   - counting: from where on the bytes of each channel are counted; nil for not at all.
    ///   - giveCredit: called with no lock held, on the reader's thread or the event loop.
    init(
        window: UInt32, counting: [OutputChannel: UInt64]? = nil, giveCredit: @escaping @Sendable (Int) -> Void
    ) {
        state.withLockedValue { $0.read = counting }
        creditStep = max(1, Int(window) / 2)
        self.giveCredit = giveCredit
        (pauses, tellPause) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// How many bytes of each channel were read or dropped, counted from where it was begun.
    var bytesRead: [OutputChannel: UInt64] { state.withLockedValue { $0.read ?? [:] } }

    /// Bytes came.
    func append(_ chunk: OutputChunk) {
        let (waiter, credit) = state.withLockedValue { state -> (Waiter?, Int) in
            guard !state.isDiscarding else { return (nil, consume(chunk, &state)) }
            guard !state.waiters.isEmpty else {
                state.chunks.append(chunk)
                return (nil, 0)
            }
            return (state.waiters.removeFirst(), consume(chunk, &state))
        }
        if credit > 0 { giveCredit(credit) }
        waiter?.resume(returning: chunk)
    }

    /// The guest stands still behind the bytes that have come.
    func append(_ pause: Pause) {
        let isReached = state.withLockedValue { state in
            let isReached = state.isDiscarding || !state.waiters.isEmpty
            state.pause = isReached ? nil : pause
            return isReached
        }
        if isReached { tellPause.yield(pause) }
    }

    /// The guest goes on, so a pause that nobody was told of is over.
    func forgetPause() { state.withLockedValue { $0.pause = nil } }

    /// Nothing more comes.
    func finish(_ end: Result<OutputChunk?, any Error>) {
        tellPause.finish()
        let waiters = state.withLockedValue { state -> [Waiter] in
            guard state.end == nil else { return [] }
            state.end = end
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(with: end) }
    }

    /// From here on output is dropped as it comes.
    func discard() {
        let (credit, pause) = state.withLockedValue { state -> (Int, Pause?) in
            let (chunks, pause) = (state.chunks, state.pause)
            (state.chunks, state.pause, state.isDiscarding) = ([], nil, true)
            return (chunks.reduce(0) { $0 + consume($1, &state) }, pause)
        }
        if credit > 0 { giveCredit(credit) }
        if let pause { tellPause.yield(pause) }
    }

    func next() async throws -> OutputChunk? {
        try await withCheckedThrowingContinuation { (waiter: Waiter) in
            let (ready, credit, pause) = state.withLockedValue { state in
                guard !state.chunks.isEmpty else { return wait(waiter, &state) }
                let chunk = state.chunks.removeFirst()
                return (.success(chunk), consume(chunk, &state), nil)
            }
            if credit > 0 { giveCredit(credit) }
            if let pause { tellPause.yield(pause) }
            if let ready { waiter.resume(with: ready) }
        }
    }

    /// Everything that has come was read: what remains is the end, or to wait behind a pause.
    private func wait(
        _ waiter: Waiter, _ state: inout State
    ) -> (ready: Result<OutputChunk?, any Error>?, credit: Int, pause: Pause?) {
        defer { state.pause = nil }
        if state.end == nil { state.waiters.append(waiter) }
        return (state.end, 0, state.pause)
    }

    /// Counts a chunk as read, and returns the credit to give back now.
    private func consume(_ chunk: OutputChunk, _ state: inout State) -> Int {
        state.owed += chunk.bytes.count
        if state.read != nil { state.read?[chunk.channel, default: 0] += UInt64(chunk.bytes.count) }
        guard state.owed >= creditStep else { return 0 }
        defer { state.owed = 0 }
        return state.owed
    }
}
