// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import kvmjob

@Suite struct TopScreenTests {
    private let start = ContinuousClock.now

    private func sample(after seconds: Int, jobs: Int = 0) -> TopSample {
        var worker = SampleWorker.report
        worker.finished += UInt64(seconds * 250)
        var tenants = SampleWorker.tenants
        tenants[0].slotNanoseconds += UInt64(seconds) * 3_500_000_000
        let running = (1...3).map { SampleWorker.job($0, .running, ran: 5) }
        let waiting = (4...1_000_000).prefix(max(0, jobs - 3)).map { SampleWorker.job($0, .queued) }
        let list = Array((running + waiting).prefix(jobs))
        return TopSample(instant: start + .seconds(seconds), worker: worker, tenants: tenants, jobs: list)
    }

    private func lines(rows: Int = 24, columns: Int = 80, jobs: Int, before: TopSample? = nil) -> [String] {
        TopScreen(
            place: "/run/kvmjob/kvmjobd.sock", names: SampleWorker.names,
            window: TerminalWindow(rows: rows, columns: columns), sample: sample(after: 2, jobs: jobs), before: before
        ).lines
    }

    @Test func `rates are told against the sample before`() {
        let lines = lines(jobs: 2, before: sample(after: 0))
        #expect(lines[0] == "kvmjobd 0.6.0 at /run/kvmjob/kvmjobd.sock, up 3 h 12 min; q leaves")
        #expect(lines[1].contains("slots 3/4") && lines[1].contains("waiting 10240") && lines[1].contains("jobs/s 250"))
        #expect(lines[3].hasPrefix("USER        SLOTS  RUN"))
        #expect(lines[4].hasPrefix("ann           3.5    3  10000"), "\(lines[4])")
        #expect(lines[5].hasPrefix("a-very-lo+      0    0    240"), "\(lines[5])")
        #expect(lines[7].hasPrefix("JOB  USER"))
        #expect(lines.count == 10)
    }

    @Test func `without one before there are no rates`() {
        #expect(lines(jobs: 2)[1].contains("jobs/s -"))
        #expect(lines(jobs: 2)[4].hasPrefix("ann             -"))
    }

    @Test(arguments: [1, 2, 3, 5, 8, 10, 24, 50], [10, 40, 80, 132])
    func `whatever the window, nothing is wider or longer than it`(rows: Int, columns: Int) {
        let lines = lines(rows: rows, columns: columns, jobs: 1000, before: sample(after: 0))
        #expect(lines.count <= rows && lines.allSatisfy { $0.count <= columns })
    }

    @Test func `what has no room is counted`() {
        let lines = lines(jobs: 1000)
        #expect(lines.count == 24 && lines.last?.hasPrefix("... ") == true && lines.last?.hasSuffix(" more") == true)
        let shown = lines.filter { $0.contains("boot.bin") }.count
        #expect(lines.last == "... \(1000 - shown) more")
    }

    @Test func `the busiest user is on top`() {
        var sample = sample(after: 0)
        sample.tenants[1].running = 4
        let screen = TopScreen(
            place: "p", names: SampleWorker.names, window: TerminalWindow(rows: 24, columns: 80), sample: sample)
        #expect(screen.lines[4].hasPrefix("a-very-lo+"))
    }
}
