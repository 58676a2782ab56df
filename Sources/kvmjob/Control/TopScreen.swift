// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What a worker said at one instant.
struct TopSample: Sendable {
    /// When it was asked, by a clock that only goes on.
    var instant: ContinuousClock.Instant
    var worker: WorkerReport
    var tenants: [TenantReport]
    /// The first of its jobs.
    var jobs: [ListedJob]
}

/// The picture of `kvmjob top`: the worker, its users and its jobs, in as many lines as there is room for.
struct TopScreen {
    let place: String
    let names: TenantNames
    let window: TerminalWindow
    let sample: TopSample
    /// The one before, against which rates are told.
    var before: TopSample?

    /// Users get no more lines than a third of the screen, as long as there are jobs to show.
    private static let shareOfTenants = 3

    var lines: [String] {
        let head = [title, figures, "", ""]
        let room = max(0, window.rows - head.count - 1)
        let share = sample.jobs.isEmpty ? room : max(2, room / Self.shareOfTenants)
        let tenants = Self.fitting(tenantLines, share)
        let jobs = JobTable(jobs: sample.jobs.sorted(by: ListedJob.comesFirst), names: names).lines
        let all = head.dropLast() + tenants + [""] + Self.fitting(jobs, window.rows - head.count - tenants.count)
        return all.prefix(window.rows).map { ShortText.plain($0, width: window.columns) }
    }

    /// As many lines as fit; the last says that there were more.
    private static func fitting(_ lines: [String], _ room: Int) -> [String] {
        guard lines.count > room else { return lines }
        return lines.prefix(max(0, room - 1)) + ["... \(lines.count - max(0, room - 1)) more"]
    }

    private var worker: WorkerReport { sample.worker }

    private var title: String {
        let age = DurationText.long(nanoseconds: worker.uptimeNanoseconds)
        let state = worker.isDraining ? ", draining" : ""
        return "\(worker.software) at \(place), up \(age)\(state); q leaves"
    }

    private var figures: String {
        [
            "slots \(worker.running)/\(worker.slots)", "waiting \(ShortText.count(UInt64(worker.queued)))",
            worker.paused > 0 ? "paused \(worker.paused)" : nil, "jobs/s \(rate)",
            "memory \(SizeText.approximate(worker.memoryBytes)) of \(SizeText.approximate(worker.memoryLimit))",
            "failed \(ShortText.count(worker.failed)) of \(ShortText.count(worker.finished))",
        ].compactMap(\.self).joined(separator: "  ")
    }

    private var seconds: Double? {
        guard let before, before.instant < sample.instant else { return nil }
        return Double((sample.instant - before.instant).wholeNanoseconds) / 1e9
    }

    /// Jobs that ended, per second.
    private var rate: String {
        guard let seconds, let before, worker.finished >= before.worker.finished else { return "-" }
        let perSecond = Double(worker.finished - before.worker.finished) / seconds
        return ShortText.oneDecimal(UInt64((perSecond * 1000).rounded()), 1000)
    }

    // MARK: Users

    private var tenantLines: [String] {
        let heading = ["USER", "SLOTS", "RUN", "WAIT", "PAUSED", "MEMORY", "CONNS", "ENDED", "FAILED", "REFUSED"]
        let rows = sample.tenants.sorted(by: comesFirst).map(row)
        return AlignedColumns(rows: [heading] + rows, right: Set(1..<heading.count)).lines
    }

    private func comesFirst(_ one: TenantReport, _ other: TenantReport) -> Bool {
        let keys = [one, other].map { [UInt64($0.running), UInt64($0.queued), $0.slotNanoseconds] }
        return keys[0] == keys[1] ? one.tenant < other.tenant : keys[1].lexicographicallyPrecedes(keys[0])
    }

    private func row(_ report: TenantReport) -> [String] {
        [
            ShortText.name(names.text(report.tenant), width: TenantTable.nameWidth), slots(of: report),
            ShortText.count(UInt64(report.running)), ShortText.count(UInt64(report.queued)),
            ShortText.count(UInt64(report.paused)),
            report.memoryBytes == 0 ? "0" : SizeText.approximate(report.memoryBytes),
            ShortText.count(UInt64(report.connections)), ShortText.count(report.finished),
            ShortText.count(report.failed), ShortText.count(report.refused),
        ]
    }

    /// How many slots a user has had on average since the sample before.
    private func slots(of report: TenantReport) -> String {
        guard let seconds, let last = before?.tenants.first(where: { $0.tenant == report.tenant }),
            report.slotNanoseconds >= last.slotNanoseconds
        else { return "-" }
        let slots = Double(report.slotNanoseconds - last.slotNanoseconds) / 1e9 / seconds
        return ShortText.oneDecimal(UInt64((slots * 1000).rounded()), 1000)
    }
}
