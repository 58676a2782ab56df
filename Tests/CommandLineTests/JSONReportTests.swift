// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct JSONValueTests {
    @Test func `strings are escaped, and keys keep their order`() throws {
        let nasty = "quote \" back \\ line \n tab \t nul \0 é 🙂"
        let value = JSONValue.object([
            ("z", .string(nasty)), ("a", .array([.null, .bool(true), .number(.max)])), ("m", .object([])),
        ])
        let text = String(decoding: value.bytes, as: UTF8.self)
        #expect(!text.contains("\n") && text.hasPrefix("{\"z\":\"quote \\\" back \\\\ line \\u000a tab"))
        #expect(text.hasSuffix("\"a\":[null,true,18446744073709551615],\"m\":{}}"))
        let parsed = try JSONSerialization.jsonObject(with: Data(value.bytes)) as? [String: Any]
        #expect(parsed?["z"] as? String == nasty)
    }
}

@Suite struct JSONReportTests {
    /// A report as another program reads it.
    private func parse(_ report: JobReport, budget: UInt64? = nil, portWrites: Bool = false) throws -> [String: Any] {
        let json = JSONReport(report: report, stepBudget: budget, listsPortWrites: portWrites)
        return try #require(try JSONSerialization.jsonObject(with: Data(json.value.bytes)) as? [String: Any])
    }

    private func parse(_ outcome: Outcome) throws -> [String: Any] {
        try parse(JobReport(image: "boot.bin", name: "boot.bin#3", end: .ended(JobResult(outcome: outcome))))
    }

    private static let keys = [
        "image", "name", "id", "outcome", "error", "code", "fault", "unemulatable", "exhausted", "cancelled",
        "host_error",
        "snapshot", "steps", "wall_ns", "queue_ns", "cpu_ns", "touched_bytes", "exits", "output_bytes", "output_base64",
        "output_truncated", "unclaimed_port_writes", "port_writes", "port_writes_truncated", "dropped_memory_writes",
        "registers", "segments", "tables", "control", "vcpus", "digest", "job", "post_mortem", "dumps", "screen",
        "stderr_base64", "stderr_truncated", "program",
    ]

    @Test(arguments: [
        JobEnd.ended(JobResult(outcome: .halted)), .refused(.unreadable("no such file")), .lost("gone"),
    ])
    func `every key is there, always in the same order`(end: JobEnd) throws {
        let json = JSONReport(
            report: JobReport(image: "a", name: "a", end: end), stepBudget: nil, listsPortWrites: true)
        guard case .object(let members) = json.value else {
            Issue.record("not an object")
            return
        }
        #expect(members.map(\.key) == Self.keys)
    }

    @Test func `a result is told with all its figures`() throws {
        var result = JobResult(outcome: .exited(code: 7))
        (result.steps, result.meter) = (12, .bounded(reason: "handlers"))
        (result.wallNanoseconds, result.queueNanoseconds, result.cpuNanoseconds) = (1000, 50, 900)
        result.touchedBytes = 8192
        (result.exits.io, result.exits.other) = (3, 1)
        (result.outputBytes, result.unclaimedPortWrites, result.droppedMemoryWrites) = (2, 1, 4)
        var report = JobReport(image: "boot.bin", name: "boot.bin#3", end: .ended(result))
        report.output.append(Array("4\n".utf8))
        report.portWrites.append([PortWrite(port: 0x80, size: 1, value: 0x12)])
        let json = try parse(report, budget: 100, portWrites: true)

        #expect(json["image"] as? String == "boot.bin" && json["name"] as? String == "boot.bin#3")
        #expect(json["outcome"] as? String == "exited" && json["code"] as? Int == 7)
        let steps = json["steps"] as? [String: Any]
        #expect(steps?["used"] as? Int == 12 && steps?["budget"] as? Int == 100)
        #expect(steps?["meter"] as? String == "bounded" && steps?["reason"] as? String == "handlers")
        #expect(json["wall_ns"] as? Int == 1000 && json["queue_ns"] as? Int == 50)
        #expect(json["cpu_ns"] as? Int == 900 && json["touched_bytes"] as? Int == 8192)
        let exits = json["exits"] as? [String: Int]
        #expect(exits == ["total": 4, "io": 3, "mmio": 0, "debug": 0, "interrupted": 0, "other": 1])
        #expect(json["output_bytes"] as? Int == 2 && json["output_base64"] as? String == "NAo=")
        #expect(json["output_truncated"] as? Bool == false)
        let writes = json["port_writes"] as? [[String: Any]]
        #expect(writes?.count == 1 && writes?[0]["port"] as? String == "0x80" && writes?[0]["size"] as? Int == 1)
        #expect(json["unclaimed_port_writes"] as? Int == 1 && json["dropped_memory_writes"] as? Int == 4)
        #expect(json["registers"] is NSNull && json["error"] is NSNull && json["segments"] is NSNull)
        #expect(try parse(.halted)["touched_bytes"] is NSNull, "nobody asked")
    }

    @Test func `an unmetered job used no known number of steps`() throws {
        let steps = try parse(.halted)["steps"] as? [String: Any]
        #expect(steps?["used"] is NSNull && steps?["budget"] is NSNull && steps?["meter"] as? String == "none")
    }

    @Test func `each outcome brings its details`() throws {
        let fault = try parse(.faulted(Fault(vector: 14, errorCode: 6, address: nil, rip: 0x1000)))["fault"]
        let parts = fault as? [String: Any]
        #expect(parts?["vector"] as? Int == 14 && parts?["name"] as? String == "#PF page fault")
        #expect(parts?["error_code"] as? String == "0x6" && parts?["rip"] as? String == "0x1000")
        #expect(parts?["address"] is NSNull)

        let instruction = try parse(.unemulatable(Unemulatable(rip: 16, bytes: [0x0F, 0x0B])))["unemulatable"]
        #expect(instruction as? [String: String] == ["rip": "0x10", "bytes": "0f 0b", "text": "ud2"])

        let spent = try parse(.exhausted(.cpuTime, limit: 5, used: 6))
        #expect(spent["outcome"] as? String == "cpu-time-exhausted")
        let budget = spent["exhausted"] as? [String: Any]
        #expect(
            budget?["budget"] as? String == "cpu-time" && budget?["limit"] as? Int == 5 && budget?["used"] as? Int == 6)
        let waited = try parse(.waitExpired(limit: 9))["exhausted"] as? [String: Any]
        #expect(waited?["budget"] as? String == "wait" && waited?["limit"] as? Int == 9 && waited?["used"] is NSNull)

        #expect(try parse(.cancelled(by: .disconnect))["cancelled"] as? [String: String] == ["by": "disconnect"])
        #expect(try parse(.hostError("no memory"))["host_error"] as? String == "no memory")
    }

    @Test func `a refusal and a lost job say why`() throws {
        let rejection = Rejection(
            code: "image-too-large", message: "too large", limit: 10, value: 11, isRetryable: false)
        let refused = try parse(JobReport(image: "a", name: "a", end: .refused(rejection)))
        #expect(refused["outcome"] as? String == "refused" && refused["exits"] is NSNull)
        let error = refused["error"] as? [String: Any]
        #expect(error?["code"] as? String == "image-too-large" && error?["message"] as? String == "too large")
        #expect(error?["limit"] as? Int == 10 && error?["value"] as? Int == 11 && error?["retryable"] as? Bool == false)

        let lost = try parse(JobReport(image: "a", name: "a", end: .lost("gone")))
        #expect(lost["outcome"] as? String == "lost")
        #expect((lost["error"] as? [String: Any])?["retryable"] as? Bool == true)
    }

    @Test func `registers are strings without loss`() throws {
        var result = JobResult(outcome: .halted)
        var registers = Registers()
        registers.rax = .max
        var system = SystemRegisters()
        system.cs = Segment(
            base: 0xFFFF_0000, limit: 0xFFFF, selector: 0xF000, attributes: SegmentAttributes(rawValue: 0x9B))
        (system.idt, system.cr0) = (DescriptorTable(base: 0, limit: 0x3FF), 0x10)
        (result.registers, result.system) = (registers, system)
        let json = try parse(JobReport(image: "a", name: "a", end: .ended(result)))

        let general = try #require(json["registers"] as? [String: String])
        #expect(general.count == 18 && general["rax"] == "0xffffffffffffffff" && general["rflags"] == "0x2")
        let segments = try #require(json["segments"] as? [String: [String: String]])
        #expect(Set(segments.keys) == ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"])
        #expect(
            segments["cs"] == ["base": "0xffff0000", "limit": "0xffff", "selector": "0xf000", "attributes": "0x9b"])
        #expect((json["tables"] as? [String: [String: String]])?["idt"] == ["base": "0x0", "limit": "0x3ff"])
        let control = try #require(json["control"] as? [String: String])
        #expect(
            Set(control.keys) == ["cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base"] && control["cr0"] == "0x10")
    }
}
