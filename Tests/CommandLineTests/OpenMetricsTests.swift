// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct OpenMetricsTests {
    private static let text = OpenMetrics(status: SampleWorker.status).text

    private func lines(of family: String, in text: String = OpenMetricsTests.text) -> [String] {
        text.split(separator: "\n").map(String.init).filter {
            $0.hasPrefix("# TYPE \(family) ") || $0.hasPrefix("# UNIT \(family) ") || $0.hasPrefix("\(family)_")
                || $0.hasPrefix("\(family) ") || $0.hasPrefix("\(family){")
        }
    }

    @Test func `counters end with total, and say by what they are told apart`() {
        #expect(
            lines(of: "kvmjob_jobs").filter {
                !$0.hasPrefix("kvmjob_jobs_accepted") && !$0.hasPrefix("kvmjob_jobs_refused")
            }
                == [
                    "# TYPE kvmjob_jobs counter", "kvmjob_jobs_total{outcome=\"halted\"} 123000",
                    "kvmjob_jobs_total{outcome=\"exited\"} 400", "kvmjob_jobs_total{outcome=\"wait-expired\"} 56",
                    "kvmjob_jobs_total{outcome=\"number-999\"} 1",
                ])
        #expect(lines(of: "kvmjob_jobs_refused").contains("kvmjob_jobs_refused_total{rule=\"queue-full\"} 3"))
        #expect(lines(of: "kvmjob_exits").contains("kvmjob_exits_total{kind=\"io\"} 500000"))
        #expect(lines(of: "kvmjob_steps").last == "kvmjob_steps_total 9000000000")
        #expect(lines(of: "kvmjob_machines_reset").last == "kvmjob_machines_reset_total 123450")
        #expect(lines(of: "kvmjob_images_found").last == "kvmjob_images_found_total 99")
        #expect(lines(of: "kvmjob_images_wanted").last == "kvmjob_images_wanted_total 0")
        #expect(lines(of: "kvmjob_cpu_seconds").last == "kvmjob_cpu_seconds_total 1.500000001")
    }

    @Test func `times are cumulative buckets in seconds`() {
        #expect(
            lines(of: "kvmjob_queue_time_seconds") == [
                "# TYPE kvmjob_queue_time_seconds histogram", "# UNIT kvmjob_queue_time_seconds seconds",
                "kvmjob_queue_time_seconds_bucket{le=\"0.0001\"} 2", "kvmjob_queue_time_seconds_bucket{le=\"0.001\"} 2",
                "kvmjob_queue_time_seconds_bucket{le=\"0.01\"} 3", "kvmjob_queue_time_seconds_bucket{le=\"0.1\"} 3",
                "kvmjob_queue_time_seconds_bucket{le=\"1.0\"} 3", "kvmjob_queue_time_seconds_bucket{le=\"10.0\"} 3",
                "kvmjob_queue_time_seconds_bucket{le=\"60.0\"} 3", "kvmjob_queue_time_seconds_bucket{le=\"600.0\"} 3",
                "kvmjob_queue_time_seconds_bucket{le=\"+Inf\"} 4", "kvmjob_queue_time_seconds_sum 700.00215",
                "kvmjob_queue_time_seconds_count 4",
            ])
    }

    @Test func `users are told by number, which no rename changes`() {
        #expect(lines(of: "kvmjob_tenant_queued_jobs").last == "kvmjob_tenant_queued_jobs{user=\"1001\"} 240")
        #expect(lines(of: "kvmjob_tenant_slot_seconds").contains("kvmjob_tenant_slot_seconds{user=\"1000\"} 3600.5"))
    }

    @Test func `a text is escaped in a label`() {
        #expect(MetricPoint.escaped("a\\b\"c\nd") == #"a\\b\"c\nd"#)
        var status = SampleWorker.status
        status.worker.backend = "KVM \"12\"\nkvmjob_slots 99\\"
        let text = OpenMetrics(status: status).text
        #expect(!lines(of: "kvmjob_slots", in: text).contains("kvmjob_slots 99\\"))
    }

    @Test(arguments: [
        (UInt64(0), "0.0"), (1, "0.000000001"), (1_000_000_000, "1.0"), (1_500_000_000, "1.5"),
        (.max, "18446744073.709551615"),
    ])
    func `nanoseconds lose nothing as seconds`(nanoseconds: UInt64, text: String) {
        #expect(MetricValue.nanoseconds(nanoseconds).text == text)
    }

    @Test(arguments: [false, true])
    func `a strict reader finds nothing wrong`(isEmpty: Bool) throws {
        let empty = WorkerStatus(place: "p", worker: WorkerReport(), tenants: [], counters: CounterReport())
        var status = SampleWorker.status
        status.worker.backend = "a \\ \" \n 🙂 b"
        try Self.check(OpenMetrics(status: isEmpty ? empty : status).text)
    }

    @Test(arguments: ["# EOF\n", "_total", "# HELP", "le=\"0.1\"", "# UNIT"])
    func `and would find something`(part: String) {
        let broken = Self.text.replacingOccurrences(of: part, with: part == "le=\"0.1\"" ? "le=\"0.10\"" : "x")
        #expect(throws: (any Error).self) { try Self.check(broken) }
    }

    private struct Complaint: Error { let text: String }

    private static func check(_ text: String) throws {
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "EndToEnd/openmetrics.py")
        let file = FileManager.default.temporaryDirectory.appending(path: "kvmjob-\(UUID().uuidString).txt")
        try Data(text.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let reader = Process()
        let errors = Pipe()
        reader.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        reader.arguments = ["python3", script.path]
        (reader.standardInput, reader.standardError) = (try FileHandle(forReadingFrom: file), errors)
        try reader.run()
        let complaint = try errors.fileHandleForReading.readToEnd() ?? Data()
        reader.waitUntilExit()
        guard reader.terminationStatus == 0 else { throw Complaint(text: String(decoding: complaint, as: UTF8.self)) }
    }
}
