// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

extension ServerSession {
    /// The most QUERY and STOP frames of a connection that have no answer: 16.
    public static let requestLimit = 16

    /// The answer to the query that was asked. Tenants and jobs rise, and are above the one that the query names; what does not fit in
    /// a frame of the client's is left out, and the client told that there is more.
    ///
    /// An answer to something else ends the connection with the fatal error `internal`; without a query it does nothing.
    public mutating func answer(_ answer: Answer) -> [ServerAction] {
        guard let request = requests.takeAnswered() else { return [] }
        guard case .query(let query) = request, answer.answers(query) else { return failWrongAnswer() }
        return [.sendAnswer(answer.frame(frameLimit: client.frameLimit).encode())] + closeIfDone()
    }

    /// What became of the stop that was asked for, for each of its jobs. Else as ``answer(_:)``.
    public mutating func stopAnswered(_ answer: StopAnswer) -> [ServerAction] {
        guard let request = requests.takeAnswered() else { return [] }
        guard case .stop(let stop) = request, answer.answers(stop) else { return failWrongAnswer() }
        return [.sendAnswer(answer.frame.encode())] + closeIfDone()
    }

    /// The connection has taken the bytes of the last ``ServerAction/sendAnswer(_:)``: what else the client asked comes up.
    public mutating func answerWritten() -> [ServerAction] {
        requests.noteWritten()
        return askNext()
    }

    mutating func ask(_ request: ControlRequest) throws(WireError) -> [ServerAction] {
        try requests.add(request)
        return askNext()
    }

    private mutating func askNext() -> [ServerAction] {
        switch requests.next() {
        case .query(let query): [.query(query)]
        case .stop(let request): [.stop(request)]
        case nil: []
        }
    }

    private mutating func failWrongAnswer() -> [ServerAction] {
        fail(WireError(.internal, "the worker has an answer to something else than was asked"))
    }
}
