// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

extension Field {
    /// An idempotency key.
    func key() throws(WireError) -> String {
        try text(of: try bytes(atLeast: 1, atMost: Detachment.keyLimit))
    }

    /// Detached jobs, whose ids rise. Sizes are judged before text, and text before values.
    func detachedJobs() throws(WireError) -> [DetachedJob] {
        let most = DetachedJob.headerSize + DetachedJob.titleLimit + Detachment.keyLimit
        let records = try records(
            in: try bytes(atMost: Answer.recordLimit * most), atMost: Answer.recordLimit,
            headerSize: DetachedJob.headerSize
        ) { Int($0[$0.startIndex + DetachedJob.titleSizeOffset]) + Int($0[$0.startIndex + DetachedJob.keySizeOffset]) }
        var texts: [(title: String, key: String)] = []
        for record in records {
            let titleSize = Int(record[record.startIndex + DetachedJob.titleSizeOffset])
            let bytes = record.dropFirst(DetachedJob.headerSize)
            texts.append((try text(of: bytes.prefix(titleSize)), try text(of: bytes.dropFirst(titleSize))))
        }
        var jobs: [DetachedJob] = []
        for (record, texts) in zip(records, texts) {
            let job = try DetachedJob(record, title: texts.title, key: texts.key, of: self)
            if let last = jobs.last, last.id >= job.id { throw badValue(job.id) }
            jobs.append(job)
        }
        return jobs
    }
}

extension DetachedJob {
    /// Bytes of a record in front of its texts.
    static let headerSize = 48
    /// Where a record says how long its title is.
    static let titleSizeOffset = 14
    /// Where a record says how long its key is.
    static let keySizeOffset = 15
    /// The largest title in bytes.
    static let titleLimit = Submit.labelLimit

    /// - Parameter record: as many bytes as the header says that it has.
    fileprivate init(_ record: ArraySlice<UInt8>, title: String, key: String, of field: Field) throws(WireError) {
        var block = BlockReader(rest: record)
        let (id, user): (UInt64, UInt32) = (block.next(), block.next())
        let (state, outcome): (UInt8, UInt8) = (block.next(), block.next())
        guard let known = State(rawValue: state) else { throw field.badValue(state) }
        guard outcome == 0 || OutcomeNumber(rawValue: outcome) != nil else { throw field.badValue(outcome) }
        let (titleSize, keySize): (UInt8, UInt8) = (block.next(), block.next())
        guard titleSize <= Self.titleLimit else { throw field.badValue(titleSize) }
        guard keySize <= Detachment.keyLimit else { throw field.badValue(keySize) }
        self.init(id: id, tenant: Tenant(wire: user), state: known)
        (self.title, self.key, self.outcome) = (title, key.isEmpty ? nil : key, outcome == 0 ? nil : outcome)
        run = block.next()
        _ = block.next(UInt32.self)
        acceptedAt = block.next()
        let ended: UInt64 = block.next()
        endedAt = ended == 0 ? nil : ended
        outputBytes = block.next()
    }

    /// The record in an ANSWER.
    var wire: [UInt8] {
        let title = title.utf8Bytes(atMost: Self.titleLimit)
        let key = key?.utf8Bytes(atMost: Detachment.keyLimit) ?? []
        var bytes = ByteWriter(capacity: Self.headerSize + title.count + key.count)
        bytes.put(id)
        bytes.put(tenant.wire)
        for number in [state.rawValue, outcome ?? 0, UInt8(title.count), UInt8(key.count)] { bytes.put(number) }
        for number in [run, 0] { bytes.put(number) }
        for number in [acceptedAt, endedAt ?? 0, outputBytes] { bytes.put(number) }
        bytes.put(title)
        bytes.put(key)
        return bytes.finish()
    }
}

extension Submit {
    /// What a detached submission cannot say, and what only one can: codes of ``Refusal/Rule/invalidField``.
    var detachRefusal: Refusal? {
        guard detach == true else {
            return key.map { _ in Refusal(.invalidField, "key goes with detach: only a job that is kept has one") }
        }
        let fields = [
            (from != nil, "from"), (snapshot != nil, "snapshot"), (pause == true, "pause"), (trace == true, "trace"),
            (dumps?.isEmpty == false, "dumps"),
        ]
        guard let name = fields.first(where: \.0)?.1 else { return nil }
        return Refusal(.invalidField, "a detached job cannot have \(name): nobody need be there to see it")
    }
}

extension Detachment {
    /// What no SUBMIT can say.
    var wireRefusal: Refusal? {
        guard let key, !(1...Self.keyLimit).contains(key.utf8.count) else { return nil }
        return Refusal(
            .invalidField, "a key has 1 to \(Self.keyLimit) bytes, not \(key.utf8.count)",
            limit: UInt64(Self.keyLimit), value: UInt64(key.utf8.count))
    }
}
