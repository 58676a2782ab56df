// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

extension StopRequest {
    /// Bytes of one job's id.
    static let idSize = 8

    private enum Tag: UInt16 { case jobs = 0x8001, worker, keeping }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .stop)
        var requests: [(Tag, StopRequest)] = []
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .jobs: requests.append((.jobs, .jobs(try Self.ids(field))))
            case .worker:
                _ = try field.integer(in: UInt8(1)...1)
                requests.append((.worker, .worker))
            case .keeping: requests.append((.keeping, .keeping(try Self.ids(field))))
            case nil: try field.skip()
            }
        }
        guard let (last, request) = requests.last else { throw fields.missing(Tag.jobs) }
        guard requests.count == 1 else { throw fields.badValue(last, "comes beside another; a STOP has one of them") }
        self = request
    }

    private static func ids(_ field: Field) throws(WireError) -> [UInt64] {
        _ = try field.bytes(atLeast: idSize, atMost: jobLimit * idSize)
        var block = BlockReader(rest: try field.bytes(atMost: jobLimit * idSize, multipleOf: idSize))
        return (0..<block.rest.count / idSize).map { _ in block.next() }
    }

    var frame: Frame {
        var fields = FieldWriter(.stop, job: 0)
        switch self {
        case .jobs(let ids): fields.put(Tag.jobs, bytes: Self.wire(ids))
        case .worker: fields.put(Tag.worker, flag: true)
        case .keeping(let ids): fields.put(Tag.keeping, bytes: Self.wire(ids))
        }
        return fields.finish()
    }

    private static func wire(_ ids: [UInt64]) -> [UInt8] { ids.reduce(into: []) { $0.append(bigEndian: $1) } }

    /// The jobs that it names, if it is about jobs.
    var ids: [UInt64]? {
        switch self {
        case .jobs(let ids), .keeping(let ids): ids
        case .worker: nil
        }
    }
}

extension StopAnswer {
    private enum Tag: UInt16 { case jobs = 0x0001, drains, keeping }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .stopped)
        var answers: [(Tag, StopAnswer)] = []
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .jobs: answers.append((.jobs, .jobs(try Self.answers(field, [.stopped, .unknown]))))
            case .drains: answers.append((.drains, .worker(drains: try field.flag())))
            case .keeping: answers.append((.keeping, .keeping(try Self.answers(field, JobAnswer.allCases))))
            case nil: try field.skip()
            }
        }
        guard let (last, answer) = answers.last else { throw fields.missing(Tag.jobs) }
        guard answers.count == 1 else { throw fields.badValue(last, "comes beside another; a STOPPED has one of them") }
        self = answer
    }

    private static func answers(_ field: Field, _ allowed: [JobAnswer]) throws(WireError) -> [JobAnswer] {
        var answers: [JobAnswer] = []
        for number in try field.bytes(atLeast: 1, atMost: StopRequest.jobLimit) {
            guard let answer = JobAnswer(rawValue: number), allowed.contains(answer) else {
                throw field.badValue(number)
            }
            answers.append(answer)
        }
        return answers
    }

    var frame: Frame {
        var fields = FieldWriter(.stopped, job: 0)
        switch self {
        case .jobs(let answers): fields.put(Tag.jobs, bytes: answers.map(\.rawValue))
        case .worker(let drains): fields.put(Tag.drains, flag: drains)
        case .keeping(let answers): fields.put(Tag.keeping, bytes: answers.map(\.rawValue))
        }
        return fields.finish()
    }

    /// Whether this is what can be answered to the request: it tells of as many jobs, or of the worker.
    func answers(_ request: StopRequest) -> Bool {
        switch (self, request) {
        case (.jobs(let answers), .jobs(let ids)), (.keeping(let answers), .keeping(let ids)):
            answers.count == ids.count
        case (.worker, .worker): true
        case (.jobs, _), (.worker, _), (.keeping, _): false
        }
    }
}
