// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The fields of an ANSWER, of which each topic has its own.
private enum Tag: UInt16 {
    case what = 0x0001, more
    case software = 0x0010, backend, uptime, slots, running, queued, paused, connections, tenantCount, memoryLimit
    case memoryBytes, finished, failed, draining, isOperator, confinement
    case tenants = 0x0030, jobs, samples, histograms, detached

    /// What an answer of this topic has, lowest first: all of it is required.
    static func required(_ topic: Topic) -> [Tag] {
        switch topic {
        case .worker:
            [
                .software, .backend, .uptime, .slots, .running, .queued, .paused, .connections, .tenantCount,
                .memoryLimit, .memoryBytes, .finished, .failed, .draining, .isOperator, .confinement,
            ]
        case .tenants: [.more, .tenants]
        case .jobs: [.more, .jobs]
        case .counters: [.samples, .histograms]
        case .detached: [.more, .detached]
        }
    }
}

extension Answer {
    /// Bytes of an answer that are no records: its topic, whether there is more, and the headers of lists.
    private static let pageOverhead = 4 * FieldReader.headerSize + 2

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .answer)
        var (what, more, found): (Topic?, Bool, Set<Tag>) = (nil, false, [])
        var (worker, counters) = (WorkerReport(), CounterReport())
        var (tenants, jobs, detached): ([TenantReport], [ListedJob], [DetachedJob]) = ([], [], [])
        while let field = try fields.next() {
            guard let tag = Tag(rawValue: field.tag) else {
                try field.skip()
                continue
            }
            found.insert(tag)
            switch tag {
            case .what: what = try field.known()
            case .more: more = try field.flag()
            case .tenants: tenants = try field.tenantReports()
            case .jobs: jobs = try field.listedJobs()
            case .samples: counters.samples = try field.counterSamples()
            case .histograms: counters.histograms = try field.timeHistograms()
            case .detached: detached = try field.detachedJobs()
            default: try worker.take(field, tag)
            }
        }
        guard let what else { throw fields.missing(Tag.what) }
        if let absent = Tag.required(what).first(where: { !found.contains($0) }) { throw fields.missing(absent) }
        self =
            switch what {
            case .worker: .worker(worker)
            case .tenants: .tenants(tenants, more: more)
            case .jobs: .jobs(jobs, more: more)
            case .counters: .counters(counters)
            case .detached: .detached(detached, more: more)
            }
    }

    /// The frame with as many of the records as a payload of this size takes; of lists of tenants or jobs it then says that there are more.
    func frame(frameLimit: UInt32 = FrameHeader.largestFrameLimit) -> Frame {
        let room = Int(frameLimit) - Self.pageOverhead
        var fields = FieldWriter(.answer, job: 0, capacity: 512)
        switch self {
        case .worker(let report):
            fields.put(Tag.what, Topic.worker.rawValue)
            report.put(in: &fields)
        case .tenants(let reports, let more):
            let (bytes, isWhole) = reports.page(room) { $0.wire }
            fields.put(Tag.what, Topic.tenants.rawValue)
            fields.put(Tag.more, flag: more || !isWhole)
            fields.put(Tag.tenants, bytes: bytes)
        case .jobs(let jobs, let more):
            let (bytes, isWhole) = jobs.page(room) { $0.wire }
            fields.put(Tag.what, Topic.jobs.rawValue)
            fields.put(Tag.more, flag: more || !isWhole)
            fields.put(Tag.jobs, bytes: bytes)
        case .counters(let report):
            let histograms = report.histograms.wire
            fields.put(Tag.what, Topic.counters.rawValue)
            fields.put(Tag.samples, bytes: report.samples.wire(atMost: room - histograms.count))
            fields.put(Tag.histograms, bytes: histograms)
        case .detached(let jobs, let more):
            let (bytes, isWhole) = jobs.page(room) { $0.wire }
            fields.put(Tag.what, Topic.detached.rawValue)
            fields.put(Tag.more, flag: more || !isWhole)
            fields.put(Tag.detached, bytes: bytes)
        }
        return fields.finish()
    }

    /// Whether this is what can be answered to the query: it is of the same topic, and a list goes on above the place where the query
    /// wants it to, so that who asks on comes to an end.
    func answers(_ query: Query) -> Bool {
        switch (self, query) {
        case (.worker, .worker), (.counters, .counters): true
        case (.tenants(let reports, let more), .tenants(let after)):
            Self.goesOn(from: after, at: reports.first?.tenant, more)
        case (.jobs(let jobs, let more), .jobs(let after)): Self.goesOn(from: after, at: jobs.first?.id, more)
        case (.detached(let jobs, let more), .detached(let after)): Self.goesOn(from: after, at: jobs.first?.id, more)
        case (.worker, _), (.tenants, _), (.jobs, _), (.counters, _), (.detached, _): false
        }
    }

    private static func goesOn<Key: Comparable>(from after: Key?, at first: Key?, _ more: Bool) -> Bool {
        guard let first else { return !more }
        return after.map { $0 < first } ?? true
    }
}

extension Collection {
    /// The bytes of as many records as a page may have and fit in so many bytes, and whether those are all.
    fileprivate func page(_ room: Int, _ encode: (Element) -> [UInt8]) -> (bytes: [UInt8], isWhole: Bool) {
        var bytes: [UInt8] = []
        for (index, record) in enumerated() {
            let next = encode(record)
            guard index < Answer.recordLimit, bytes.count + next.count <= room else { return (bytes, false) }
            bytes += next
        }
        return (bytes, true)
    }
}

extension WorkerReport {
    /// The largest text of a report in bytes.
    static let textLimit = 128

    fileprivate mutating func take(_ field: Field, _ tag: Tag) throws(WireError) {
        switch tag {
        case .software: software = try field.text(atMost: Self.textLimit)
        case .backend: backend = try field.text(atMost: Self.textLimit)
        case .uptime: uptimeNanoseconds = try field.integer()
        case .slots: slots = try field.integer()
        case .running: running = try field.integer()
        case .queued: queued = try field.integer()
        case .paused: paused = try field.integer()
        case .connections: connections = try field.integer()
        case .tenantCount: tenants = try field.integer()
        case .memoryLimit: memoryLimit = try field.integer()
        case .memoryBytes: memoryBytes = try field.integer()
        case .finished: finished = try field.integer()
        case .failed: failed = try field.integer()
        case .draining: isDraining = try field.flag()
        case .isOperator: isOperator = try field.flag()
        case .confinement: confinement = Confinement(rawValue: try field.integer())
        case .what, .more, .tenants, .jobs, .samples, .histograms, .detached: break
        }
    }

    fileprivate func put(in fields: inout FieldWriter) {
        fields.put(Tag.software, text: software, atMost: Self.textLimit)
        fields.put(Tag.backend, text: backend, atMost: Self.textLimit)
        fields.put(Tag.uptime, uptimeNanoseconds)
        fields.put(Tag.slots, slots)
        fields.put(Tag.running, running)
        fields.put(Tag.queued, queued)
        fields.put(Tag.paused, paused)
        fields.put(Tag.connections, connections)
        fields.put(Tag.tenantCount, tenants)
        fields.put(Tag.memoryLimit, memoryLimit)
        fields.put(Tag.memoryBytes, memoryBytes)
        fields.put(Tag.finished, finished)
        fields.put(Tag.failed, failed)
        fields.put(Tag.draining, flag: isDraining)
        fields.put(Tag.isOperator, flag: isOperator)
        fields.put(Tag.confinement, confinement.rawValue)
    }
}
