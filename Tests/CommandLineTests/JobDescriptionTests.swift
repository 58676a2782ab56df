// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct JobDescriptionTests {
    /// A spec in which nothing is as by default.
    private static var full: JobSpec {
        var budget = Budget(steps: .max, wallTime: .nanoseconds(1_500_000_001), cpuTime: .milliseconds(7), exits: 9)
        (budget.outputBytes, budget.touchedBytes) = (10, 8192)
        var spec = JobSpec(
            label: "a \"name\" / é", mode: .user64, loadAddress: 0x10_0000, entryPoint: .max,
            registers: [.rax: 1, .r15: .max, .rflags: 0x202], memoryBytes: 2 << 20, budget: budget,
            reportsPortWrites: true, hasInput: true)
        (spec.meter, spec.pausesWhenStepsRunOut) = (.stepped, true)
        (spec.isTraced, spec.isDeterministic) = (true, true)
        for (index, name) in SegmentName.allCases.enumerated() {
            spec.segments[name] = Segment(
                base: .max - UInt64(index), limit: .max, selector: UInt16(index),
                attributes: SegmentAttributes(rawValue: 0x1FFF))
        }
        for name in TableName.allCases { spec.tables[name] = DescriptorTable(base: 0x1000, limit: .max) }
        for name in ControlName.allCases { spec.controls[name] = UInt64(name.rawValue) + 1 }
        spec.pieces = [MemoryRange(address: 0x1000, count: 1), MemoryRange(address: .max, count: .max)]
        spec.dumps = [MemoryRange(address: 0, count: 4096)]
        spec.report = .all
        spec.snapshot = .steps(.max)
        (spec.board, spec.isROM, spec.vcpus, spec.turn) = (.pc, true, 16, .max)
        return spec
    }

    private func decode(_ json: String) throws -> JobDescription {
        try JSONDecoder().decode(JobDescription.self, from: Data(json.utf8))
    }

    private func roundTrip(_ job: JobDescription) throws -> JobDescription {
        try JSONDecoder().decode(JobDescription.self, from: Data(try job.json))
    }

    @Test func `the sample differs from the defaults in every field, so that none is forgotten below`() {
        func values(_ subject: Any) -> [(name: String, text: String)] {
            Mirror(reflecting: subject).children.map { ($0.label ?? "", String(describing: $0.value)) }
        }
        for (full, plain) in [(values(Self.full), values(JobSpec())), (values(Self.full.budget), values(Budget()))] {
            #expect(full.count == plain.count && full.count > 5)
            // A description holds an image; a program's files are too many bytes for one. How a job waits, and who keeps it, is no
            // part of what it does.
            let others = ["program", "priority", "waitLimit", "detachment"]
            for (one, other) in zip(full, plain) where !others.contains(one.name) {
                #expect(one.text != other.text, "\(one.name) is the default")
            }
        }
    }

    @Test func `every field comes back as it was`() throws {
        let full = JobDescription(spec: Self.full, image: [0, 0xFF, 0x0A], input: [])
        #expect(try roundTrip(full) == full)
        let plain = JobDescription(spec: JobSpec(), image: [0xF4], input: nil)
        #expect(try roundTrip(plain) == plain)
        for part in [ReportContents.exits, .code, .stack, .fpu, .digest] {
            var spec = JobSpec()
            spec.report = part
            #expect(try roundTrip(JobDescription(spec: spec, image: [], input: nil)).spec.report == part)
        }
        for point in [SnapshotPoint.ready, .steps(1), .address(.max)] {
            var spec = JobSpec()
            spec.snapshot = point
            #expect(try roundTrip(JobDescription(spec: spec, image: [], input: nil)).spec.snapshot == point)
        }
        for mode in GuestMode.imageModes {
            #expect(try roundTrip(JobDescription(spec: JobSpec(mode: mode), image: [], input: nil)).spec.mode == mode)
        }
    }

    @Test func `the same job is the same line`() throws {
        let job = JobDescription(spec: Self.full, image: [1, 2, 3], input: nil)
        let line = try job.json
        #expect(!line.contains(UInt8(ascii: "\n")))
        for _ in 0..<10 { #expect(try job.json == line) }
    }

    @Test func `what is left out has its default`() throws {
        let job = try decode(#"{"spec": {"mode": "long64"}, "image_base64": "9A=="}"#)
        #expect(job == JobDescription(spec: JobSpec(mode: .long64), image: [0xF4], input: nil))
    }

    @Test func `input makes a job with input`() throws {
        let job = try decode(#"{"spec": {"mode": "real16"}, "image_base64": "9A==", "input_base64": ""}"#)
        #expect(job.input == [] && job.spec.hasInput)
    }

    @Test(arguments: [
        (#"{"mode": "real"}"#, "\"real\" is not a name"), (#"{"mode": 1}"#, "String"), ("{}", "mode"),
        (#"{"mode": "real16", "steps": 5}"#, "does not know this key"), ("[]", "array"), ("null", "null"),
        (#"{"mode": "real16", "registers": {"rip": "0x1"}}"#, "\"rip\" is not a name"),
        (#"{"mode": "real16", "registers": {"rax": 1}}"#, "String"),
        (#"{"mode": "real16", "registers": {"rax": "0x1g"}}"#, "not a number"),
        (#"{"mode": "real16", "registers": {"rax": "0x10000000000000000"}}"#, "64 bits"),
        (#"{"mode": "real16", "memory_bytes": -1}"#, "orrupted"),
        (#"{"mode": "real16", "memory_bytes": 1.5}"#, "orrupted"),
        (#"{"mode": "real16", "step_budget": 18446744073709551616}"#, "orrupted"),
        (#"{"mode": "real16", "meter": "fast"}"#, "\"fast\""), (#"{"mode": "real16", "report": ["all"]}"#, "\"all\""),
        (
            #"{"mode": "real16", "segments": {"zs": {"base":"0","limit":"0","selector":"0","attributes":"0"}}}"#,
            "\"zs\""
        ),
        (
            #"{"mode": "real16", "segments": {"cs": {"base":"0","limit":"0x100000000","selector":"0","attributes":"0"}}}"#,
            "32 bits"
        ),
        (#"{"mode": "real16", "tables": {"gdt": {"base":"0","limit":"0x10000"}}}"#, "16 bits"),
        (#"{"mode": "real16", "controls": {"cr1": "0x0"}}"#, "\"cr1\""),
        (#"{"mode": "real16", "pieces": [{"address": "0x0"}]}"#, "count"),
        (#"{"mode": "real16", "snapshot": {}}"#, "one of"),
        (#"{"mode": "real16", "snapshot": {"ready": false}}"#, "one of"),
        (#"{"mode": "real16", "snapshot": {"ready": true, "at_step": 1}}"#, "one of"),
    ])
    func `a wrong spec is told, and never traps`(spec: String, reason: String) {
        let error = #expect(throws: DecodingError.self) { try decode(#"{"spec": \#(spec), "image_base64": "9A=="}"#) }
        #expect(error.map { String(describing: $0) }?.contains(reason) == true)
    }

    @Test func `lists and texts have their limits`() {
        func list(_ key: String, _ count: Int) -> String {
            let ranges = [String](repeating: #"{"address": "0x0", "count": 1}"#, count: count).joined(separator: ",")
            return #"{"spec": {"mode": "real16", "\#(key)": [\#(ranges)]}, "image_base64": ""}"#
        }
        #expect(throws: Never.self) { try decode(list("pieces", 1024)) }
        #expect(throws: DecodingError.self) { try decode(list("pieces", 1025)) }
        #expect(throws: Never.self) { try decode(list("dumps", 64)) }
        #expect(throws: DecodingError.self) { try decode(list("dumps", 65)) }
        func labelled(_ count: Int) -> String {
            let label = String(repeating: "a", count: count)
            return #"{"spec": {"mode": "real16", "label": "\#(label)"}, "image_base64": ""}"#
        }
        #expect(throws: Never.self) { try decode(labelled(128)) }
        #expect(throws: DecodingError.self) { try decode(labelled(129)) }
    }

    @Test func `an image above the limit is not taken`() throws {
        let image = Data(count: JobDescription.imageLimit + 1).base64EncodedString()
        #expect(throws: DecodingError.self) {
            try decode(#"{"spec": {"mode": "real16"}, "image_base64": "\#(image)"}"#)
        }
    }
}
