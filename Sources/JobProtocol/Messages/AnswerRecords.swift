// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The lists of an ANSWER. The size of every record is checked before any is made, then text, then values.
extension Field {
    func tenantReports() throws(WireError) -> [TenantReport] {
        let size = TenantReport.wireSize
        var block = BlockReader(rest: try bytes(atMost: Answer.recordLimit * size, multipleOf: size))
        var reports: [TenantReport] = []
        while !block.rest.isEmpty {
            let report = TenantReport(&block)
            if let last = reports.last, last.tenant >= report.tenant { throw badValue(report.tenant.wire) }
            reports.append(report)
        }
        return reports
    }

    func listedJobs() throws(WireError) -> [ListedJob] {
        let limit = Answer.recordLimit * (ListedJob.headerSize + ListedJob.titleLimit)
        let records = try records(
            in: try bytes(atMost: limit), atMost: Answer.recordLimit, headerSize: ListedJob.headerSize
        ) { Int($0[$0.startIndex + ListedJob.titleSizeOffset]) }
        var titles: [String] = []
        for record in records { titles.append(try text(of: record.dropFirst(ListedJob.headerSize))) }
        var jobs: [ListedJob] = []
        for (record, title) in zip(records, titles) {
            let job = try ListedJob(record, title, of: self)
            if let last = jobs.last, last.id >= job.id { throw badValue(job.id) }
            jobs.append(job)
        }
        return jobs
    }

    /// Those of kinds that are known here.
    func counterSamples() throws(WireError) -> [CounterSample] {
        let size = CounterSample.wireSize
        var block = BlockReader(rest: try bytes(atMost: CounterSample.limit * size, multipleOf: size))
        var samples: [CounterSample] = []
        var last: UInt32?
        while !block.rest.isEmpty {
            let key: UInt32 = block.next()
            if let last, last >= key { throw badValue(key) }
            last = key
            let value: UInt64 = block.next()
            guard let kind = CounterSample.Kind(rawValue: UInt16(key >> 16)) else { continue }
            samples.append(CounterSample(kind, label: UInt16(truncatingIfNeeded: key), value))
        }
        return samples
    }

    /// Those of kinds that are known here.
    func timeHistograms() throws(WireError) -> [TimeHistogram] {
        let (headerSize, bucketLimit) = (TimeHistogram.headerSize, TimeHistogram.bucketLimit)
        let limit = TimeHistogram.limit * (headerSize + 8 * bucketLimit)
        let records = try records(
            in: try bytes(atMost: limit), atMost: TimeHistogram.limit, headerSize: headerSize
        ) { 8 * Int(UInt16(bigEndianBytes: $0.dropFirst(2).prefix(2))) }
        var histograms: [TimeHistogram] = []
        var last: UInt16?
        for record in records {
            var block = BlockReader(rest: record)
            let (number, count, sum): (UInt16, UInt16, UInt64) = (block.next(), block.next(), block.next())
            if let last, last >= number { throw badValue(number) }
            last = number
            guard count <= bucketLimit else { throw badValue(count) }
            guard let kind = TimeHistogram.Kind(rawValue: number) else { continue }
            guard count == TimeHistogram.bounds.count + 1 else { throw badValue(count) }
            var histogram = TimeHistogram(kind)
            histogram.sum = sum
            histogram.counts = (0..<count).map { _ in block.next() }
            histograms.append(histogram)
        }
        return histograms
    }

    /// The value in pieces, each a header of one size and as many bytes as the header says.
    func records(
        in bytes: ArraySlice<UInt8>, atMost limit: Int, headerSize: Int, rest: (ArraySlice<UInt8>) -> Int
    ) throws(WireError) -> [ArraySlice<UInt8>] {
        var (records, left): ([ArraySlice<UInt8>], ArraySlice<UInt8>) = ([], bytes)
        while !left.isEmpty {
            guard records.count < limit else {
                throw sizeFailure("field \(tag) has more than \(limit) entries", limit: limit)
            }
            guard left.count >= headerSize, left.count - headerSize >= rest(left) else {
                throw sizeFailure("field \(tag) ends within an entry", limit: bytes.count - left.count)
            }
            let size = headerSize + rest(left)
            records.append(left.prefix(size))
            left = left.dropFirst(size)
        }
        return records
    }
}

extension TenantReport {
    static let wireSize = 80

    fileprivate init(_ block: inout BlockReader) {
        self.init(Tenant(wire: block.next()))
        (connections, queued, running, paused) = (block.next(), block.next(), block.next(), block.next())
        _ = block.next(UInt32.self)
        (memoryBytes, bytesInFlight, keptBytes) = (block.next(), block.next(), block.next())
        (slotNanoseconds, finished, failed, refused) = (block.next(), block.next(), block.next(), block.next())
    }

    var wire: [UInt8] {
        var bytes = ByteWriter(capacity: Self.wireSize)
        for number in [tenant.wire, connections, queued, running, paused, 0] { bytes.put(number) }
        for number in [memoryBytes, bytesInFlight, keptBytes, slotNanoseconds, finished, failed, refused] {
            bytes.put(number)
        }
        return bytes.finish()
    }
}

extension ListedJob {
    /// Bytes of a record in front of its title.
    static let headerSize = 44
    /// Where a record says how long its title is.
    static let titleSizeOffset = 19
    /// The largest title in bytes.
    static let titleLimit = 128
    /// What stands for a job that has not started.
    private static let notStarted = UInt64.max

    /// - Parameter record: as many bytes as the header says that it has.
    fileprivate init(_ record: ArraySlice<UInt8>, _ title: String, of field: Field) throws(WireError) {
        var block = BlockReader(rest: record)
        let (id, user, process): (UInt64, UInt32, UInt32) = (block.next(), block.next(), block.next())
        let (state, mode): (UInt8, UInt8) = (block.next(), block.next())
        guard let knownState = State(rawValue: state) else { throw field.badValue(state) }
        guard let knownMode = GuestMode(rawValue: mode) else { throw field.badValue(mode) }
        self.init(id: id, tenant: Tenant(wire: user), state: knownState, mode: knownMode)
        self.process = process == 0 ? nil : process
        priority = block.next()
        guard JobPriority.range.contains(priority) else { throw field.badValue(priority) }
        let titleSize: UInt8 = block.next()
        guard titleSize <= Self.titleLimit else { throw field.badValue(titleSize) }
        (memoryBytes, queueNanoseconds) = (block.next(), block.next())
        let run: UInt64 = block.next()
        runNanoseconds = run == Self.notStarted ? nil : run
        self.title = title
    }

    var wire: [UInt8] {
        let title = title.utf8Bytes(atMost: Self.titleLimit)
        var bytes = ByteWriter(capacity: Self.headerSize + title.count)
        bytes.put(id)
        bytes.put(tenant.wire)
        bytes.put(process ?? 0)
        for number in [state.rawValue, mode.rawValue, priority, UInt8(title.count)] { bytes.put(number) }
        for number in [memoryBytes, queueNanoseconds, runNanoseconds ?? Self.notStarted] { bytes.put(number) }
        bytes.put(title)
        return bytes.finish()
    }
}

extension CounterSample {
    static let wireSize = 12

    /// What samples are ordered by.
    fileprivate var key: UInt32 { UInt32(kind.rawValue) << 16 | UInt32(label) }
}

extension [CounterSample] {
    /// The first of them, by kind and label, that have room in so many bytes.
    func wire(atMost room: Int) -> [UInt8] {
        let count = Swift.min(CounterSample.limit, Swift.max(0, room) / CounterSample.wireSize)
        return sorted { $0.key < $1.key }.prefix(count).reduce(into: []) { bytes, sample in
            bytes.append(bigEndian: sample.key)
            bytes.append(bigEndian: sample.value)
        }
    }
}

extension TimeHistogram {
    /// Bytes of a record in front of its counts.
    static let headerSize = 12
    /// The most histograms of an answer, those of unknown kinds included.
    static let limit = 16
    /// The most buckets of a histogram.
    static let bucketLimit = 64
}

extension [TimeHistogram] {
    var wire: [UInt8] {
        sorted { $0.kind.rawValue < $1.kind.rawValue }.reduce(into: []) { bytes, histogram in
            bytes.append(bigEndian: histogram.kind.rawValue)
            bytes.append(bigEndian: UInt16(histogram.counts.count))
            bytes.append(bigEndian: histogram.sum)
            for count in histogram.counts { bytes.append(bigEndian: count) }
        }
    }
}
