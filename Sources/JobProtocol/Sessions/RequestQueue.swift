// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What a client asks of the worker itself, not of a job: the answers come in the order in which it was asked.
enum ControlRequest: Sendable, Hashable {
    case query(Query)
    case stop(StopRequest)

    var type: FrameType {
        switch self {
        case .query: .query
        case .stop: .stop
        }
    }

    var frame: Frame {
        switch self {
        case .query(let query): query.frame
        case .stop(let request): request.frame
        }
    }
}

/// The worker's side: requests that came and are not answered.
///
/// A few bytes of request make many of answer, and work for the worker. So the owner is given one at a time, the next when the answer
/// before has been written: a client that asks and does not read costs one answer and ``ServerSession/requestLimit`` requests of memory,
/// and one that asks as fast as it can gets on no faster than its connection is served.
struct RequestQueue: Sendable {
    private var waiting: [ControlRequest] = []
    private var stage = Stage.idle

    private enum Stage {
        case idle
        /// The owner has the first.
        case asked
        /// The owner's answer, whose request is not here any more, is being written.
        case writing
    }

    /// Whether the owner has one to which it has not said the answer.
    var isAsked: Bool { stage == .asked }

    /// Takes one more.
    mutating func add(_ request: ControlRequest) throws(WireError) {
        let limit = ServerSession.requestLimit
        guard waiting.count < limit else {
            throw WireError(
                .windowExceeded, "\(limit) requests are not answered yet, as many as may be: wait for an answer",
                frameType: request.type.rawValue, limit: UInt64(limit), value: UInt64(waiting.count) + 1)
        }
        waiting.append(request)
    }

    /// The request that the owner is to look at now.
    mutating func next() -> ControlRequest? {
        guard stage == .idle, let first = waiting.first else { return nil }
        stage = .asked
        return first
    }

    /// The request that the owner has an answer to.
    mutating func takeAnswered() -> ControlRequest? {
        guard stage == .asked else { return nil }
        stage = .writing
        return waiting.removeFirst()
    }

    mutating func noteWritten() {
        if stage == .writing { stage = .idle }
    }

    /// Nobody waits for answers any more.
    mutating func drop() { self = RequestQueue() }
}

/// The client's side: requests of which the worker has not answered any, in the order of asking.
struct AskedRequests: Sendable {
    private var sent: [ControlRequest] = []
    private var waiting: [ControlRequest] = []

    mutating func add(_ request: ControlRequest) { waiting.append(request) }

    /// The next that may be sent now.
    mutating func next() -> ControlRequest? {
        guard sent.count < ServerSession.requestLimit, !waiting.isEmpty else { return nil }
        sent.append(waiting.removeFirst())
        return sent.last
    }

    /// The one that an answer is for.
    mutating func takeAnswered() -> ControlRequest? { sent.isEmpty ? nil : sent.removeFirst() }
}
