// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

extension ClientSession {
    /// Asks the worker about itself. ``ClientAction/answered(_:)`` follows, behind the answers to what was asked before. Beyond
    /// ``ServerSession/requestLimit`` requests without an answer it is kept here until one comes.
    ///
    /// - Returns: nil if nothing is asked since the connection is not open. A request that was asked has no answer either when the
    ///   connection ends, or the worker fails, before.
    public mutating func query(_ query: Query) -> [ClientAction]? { ask(.query(query)) }

    /// Tells the worker to stop jobs or itself. ``ClientAction/stopped(_:)`` follows; else as ``query(_:)``. A request names 1 to
    /// ``largestStop`` jobs.
    public mutating func stop(_ request: StopRequest) -> [ClientAction]? {
        if let ids = request.ids { precondition((1...largestStop).contains(ids.count)) }
        return ask(.stop(request))
    }

    /// The most jobs that fit in one request to this worker.
    public var largestStop: Int { terms?.largestStop ?? 1 }

    private mutating func ask(_ request: ControlRequest) -> [ClientAction]? {
        guard phase == .open else { return nil }
        requests.add(request)
        return sendRequests()
    }

    private mutating func sendRequests() -> [ClientAction] {
        var actions: [ClientAction] = []
        while phase == .open, let next = requests.next() { actions.append(.send(next.frame.encode())) }
        return actions
    }

    mutating func takeAnswer(_ answer: Answer) throws(WireError) -> [ClientAction] {
        guard case .query(let query)? = requests.takeAnswered(), answer.answers(query) else {
            throw .unexpected(.answer, "the oldest request without an answer asks for something else")
        }
        return [.answered(answer)] + sendRequests()
    }

    mutating func takeAnswer(_ answer: StopAnswer) throws(WireError) -> [ClientAction] {
        guard case .stop(let request)? = requests.takeAnswered(), answer.answers(request) else {
            throw .unexpected(.stopped, "the oldest request without an answer asks for something else")
        }
        return [.stopped(answer)] + sendRequests()
    }
}

extension WorkerTerms {
    /// The most jobs that a STOP can name which this worker takes.
    public var largestStop: Int {
        min(StopRequest.jobLimit, (Int(frameLimit) - FieldReader.headerSize) / StopRequest.idSize)
    }
}
