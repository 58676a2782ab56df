// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

extension StopRequest {
    /// Bytes of one job's id.
    static let idSize = 8

    private enum Tag: UInt16 { case jobs = 0x8001, worker }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .stop)
        var (jobs, isForWorker): ([UInt64]?, Bool) = (nil, false)
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .jobs: jobs = try Self.jobs(field)
            case .worker:
                _ = try field.integer(in: UInt8(1)...1)
                isForWorker = true
            case nil: try field.skip()
            }
        }
        switch (jobs, isForWorker) {
        case (let jobs?, false): self = .jobs(jobs)
        case (nil, true): self = .worker
        case (nil, false): throw fields.missing(Tag.jobs)
        case (.some, true): throw fields.badValue(Tag.worker, "comes beside jobs; a STOP has one of them")
        }
    }

    private static func jobs(_ field: Field) throws(WireError) -> [UInt64] {
        _ = try field.bytes(atLeast: idSize, atMost: jobLimit * idSize)
        var block = BlockReader(rest: try field.bytes(atMost: jobLimit * idSize, multipleOf: idSize))
        return (0..<block.rest.count / idSize).map { _ in block.next() }
    }

    var frame: Frame {
        var fields = FieldWriter(.stop, job: 0)
        switch self {
        case .jobs(let ids):
            fields.put(Tag.jobs, bytes: ids.reduce(into: []) { $0.append(bigEndian: $1) })
        case .worker: fields.put(Tag.worker, flag: true)
        }
        return fields.finish()
    }
}

extension StopAnswer {
    private enum Tag: UInt16 { case jobs = 0x0001, drains }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .stopped)
        var (jobs, drains): ([JobAnswer]?, Bool?)
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .jobs: jobs = try Self.jobs(field)
            case .drains: drains = try field.flag()
            case nil: try field.skip()
            }
        }
        switch (jobs, drains) {
        case (let jobs?, nil): self = .jobs(jobs)
        case (nil, let drains?): self = .worker(drains: drains)
        case (nil, nil): throw fields.missing(Tag.jobs)
        case (.some, .some): throw fields.badValue(Tag.drains, "comes beside jobs; a STOPPED has one of them")
        }
    }

    private static func jobs(_ field: Field) throws(WireError) -> [JobAnswer] {
        var answers: [JobAnswer] = []
        for number in try field.bytes(atLeast: 1, atMost: StopRequest.jobLimit) {
            guard let answer = JobAnswer(rawValue: number) else { throw field.badValue(number) }
            answers.append(answer)
        }
        return answers
    }

    var frame: Frame {
        var fields = FieldWriter(.stopped, job: 0)
        switch self {
        case .jobs(let answers): fields.put(Tag.jobs, bytes: answers.map(\.rawValue))
        case .worker(let drains): fields.put(Tag.drains, flag: drains)
        }
        return fields.finish()
    }

    /// Whether this is what can be answered to the request: it tells of as many jobs, or of the worker.
    func answers(_ request: StopRequest) -> Bool {
        switch (self, request) {
        case (.jobs(let answers), .jobs(let ids)): answers.count == ids.count
        case (.worker, .worker): true
        case (.jobs, _), (.worker, _): false
        }
    }
}
