// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

@testable import JobProtocol

/// The fields of a message as the vectors show them, by the specification's names.
struct VectorFields {
    private(set) var json: [String: JSON] = [:]

    mutating func small(_ name: String, _ value: (some FixedWidthInteger & UnsignedInteger)?) {
        if let value { json[name] = .number(UInt64(value)) }
    }

    mutating func big(_ name: String, _ value: UInt64?) {
        if let value { json[name] = .string(String(value)) }
    }

    mutating func text(_ name: String, _ value: String?) {
        if let value { json[name] = .string(value) }
    }

    mutating func flag(_ name: String, _ value: Bool?) {
        if let value { json[name] = .bool(value) }
    }

    mutating func bytes(_ name: String, _ value: [UInt8]?) {
        if let value { json[name] = .string(value.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()) }
    }

    mutating func put(_ name: String, _ value: JSON?) {
        if let value { json[name] = value }
    }
}

extension Message {
    /// `decoded` of the vectors; null for a frame that is skipped.
    var vectorJSON: JSON {
        if case .skipped = self { return .null }
        let header = frame.header
        return .object([
            "type": .string(vectorName), "job": .number(UInt64(header.job)), "flags": .number(UInt64(header.flags)),
            "fields": .object(vectorFields.json),
        ])
    }

    private var vectorName: String {
        switch self {
        case .hello: "HELLO"
        case .ping: "PING"
        case .pong: "PONG"
        case .goAway: "GOAWAY"
        case .error: "ERROR"
        case .window: "WINDOW"
        case .submit: "SUBMIT"
        case .image: "IMAGE"
        case .input: "INPUT"
        case .cancel: "CANCEL"
        case .accepted: "ACCEPTED"
        case .started: "STARTED"
        case .output: "OUTPUT"
        case .result: "RESULT"
        case .extend: "EXTEND"
        case .paused: "PAUSED"
        case .wantImage: "WANT_IMAGE"
        case .attach: "ATTACH"
        case .leave: "LEAVE"
        case .attached: "ATTACHED"
        case .left: "LEFT"
        case .query: "QUERY"
        case .answer: "ANSWER"
        case .stop: "STOP"
        case .stopped: "STOPPED"
        case .skipped: ""
        }
    }

    private var vectorFields: VectorFields {
        var fields = VectorFields()
        switch self {
        case .hello(let hello): hello.describe(in: &fields)
        case .ping(let bytes), .pong(let bytes): fields.bytes("bytes", bytes)
        case .goAway(let goAway):
            fields.small("reason", goAway.reason.rawValue)
            fields.small("last_job", goAway.lastJob)
        case .error(_, let report): report.describe(in: &fields)
        case .window(_, let window): fields.small("credit", window.credit)
        case .submit(_, let submit): submit.describe(in: &fields)
        case .image(_, let chunk), .input(_, let chunk): chunk.describe(channel: 0, in: &fields)
        case .output(_, let channel, let chunk): chunk.describe(channel: channel.rawValue, in: &fields)
        case .accepted(_, let acceptance):
            fields.small("queue_position", acceptance.queuePosition)
            fields.big("id", acceptance.id)
            fields.big("wait_ns", acceptance.waitNanoseconds)
            if acceptance.isRepeated { fields.flag("repeated", true) }
        case .started(_, let started):
            fields.big("queue_ns", started.queueNanoseconds)
            fields.big("step_budget", started.stepBudget)
            fields.big("wall_budget", started.wallBudget)
            fields.big("memory_bytes", started.memoryBytes)
        case .result(_, let report): report.describe(in: &fields)
        case .extend(_, let extend): fields.big("steps", extend.steps)
        case .paused(_, let paused):
            fields.big("steps", paused.steps)
            fields.big("keep_ns", paused.keepNanoseconds)
            fields.put("registers", paused.registers?.vectorJSON)
            fields.put("system", paused.system?.vectorJSON)
        case .wantImage(_, let layers): fields.small("layers", layers?.rawValue)
        case .attach(_, let request): request.describe(in: &fields)
        case .attached(_, let attached): attached.describe(in: &fields)
        case .left(_, let reason): fields.small("reason", reason.rawValue)
        case .query(let query): query.describe(in: &fields)
        case .answer(let answer): answer.describe(in: &fields)
        case .stop(let request): request.describe(in: &fields)
        case .stopped(let answer): answer.describe(in: &fields)
        case .cancel, .leave, .skipped: break
        }
        return fields
    }
}

extension StreamChunk {
    fileprivate func describe(channel: UInt8, in fields: inout VectorFields) {
        fields.small("channel", channel)
        fields.big("offset", offset)
        fields.bytes("bytes", bytes)
    }
}

extension Hello {
    fileprivate func describe(in fields: inout VectorFields) {
        fields.put("version", .object(["major": .number(UInt64(major)), "minor": .number(UInt64(minor))]))
        fields.small("frame_limit", frameLimit)
        fields.text("software", software)
        fields.small("window", window)
        fields.small("job_limit", jobLimit)
        fields.big("image_limit", imageLimit)
        fields.big("memory_minimum", memoryMinimum)
        fields.big("memory_maximum", memoryMaximum)
        fields.big("wall_maximum", wallMaximum)
        fields.small("slots", slots)
        fields.put(
            "modes",
            modes.map { offers in
                .array(
                    offers.map {
                        .object(["mode": .number(UInt64($0.mode)), "meter": .number(UInt64($0.meter.rawValue))])
                    })
            })
    }
}

extension ErrorReport {
    fileprivate func describe(in fields: inout VectorFields) {
        fields.small("code", code)
        fields.small("frame_type", frameType)
        fields.small("field_tag", fieldTag)
        fields.big("limit", limit)
        fields.big("value", value)
        fields.flag("retryable", isRetryable)
        fields.text("text", text)
        fields.text("limit_name", limitName)
        fields.big("retry_ns", retryNanoseconds)
    }
}

extension Submit {
    fileprivate func describe(in fields: inout VectorFields) {
        fields.text("label", label)
        fields.small("mode", mode)
        fields.big("image_bytes", imageBytes)
        fields.big("load_address", loadAddress)
        fields.big("entry_point", entryPoint)
        fields.put("registers", registers?.vectorJSON { $0.big("value", $1) })
        fields.big("memory_bytes", memoryBytes)
        fields.big("step_budget", stepBudget)
        fields.big("wall_budget", wallBudget)
        fields.flag("port_writes", portWrites)
        fields.flag("input", input)
        fields.big("cpu_budget", cpuBudget)
        fields.big("exit_budget", exitBudget)
        fields.big("output_budget", outputBudget)
        fields.big("memory_budget", memoryBudget)
        fields.small("meter", meter?.rawValue)
        fields.flag("pause", pause)
        fields.small("report", report?.rawValue)
        fields.put("segments", segments?.vectorJSON { $1.describe(in: &$0) })
        fields.put("tables", tables?.vectorJSON { $1.describe(in: &$0) })
        fields.put("controls", controls?.vectorJSON { $0.big("value", $1) })
        fields.put("pieces", pieces?.vectorJSON)
        fields.put("dumps", dumps?.vectorJSON)
        fields.flag("trace", trace)
        fields.flag("deterministic", deterministic)
        fields.bytes("image_digest", imageDigest?.bytes)
        fields.put("snapshot", snapshot?.vectorJSON)
        fields.bytes("from", from?.bytes)
        fields.bytes("program", program)
        fields.put("arguments", arguments?.vectorJSON)
        fields.put("environment", environment?.vectorJSON)
        fields.put("layers", layers?.vectorJSON)
        fields.small("clock", clock?.rawValue)
        fields.big("seed", seed)
        fields.big("scratch_bytes", scratchBytes)
        fields.small("priority", priority)
        fields.big("wait_budget", waitBudget)
        fields.flag("detach", detach)
        fields.text("key", key)
        fields.small("board", board?.rawValue)
        fields.flag("rom", rom)
        fields.small("vcpus", vcpus)
        fields.big("turn", turn)
    }
}

extension Dictionary where Key: RawRepresentable<UInt8> {
    /// An entry for each register, by its number, with what `describe` says of the value.
    fileprivate func vectorJSON(_ describe: (inout VectorFields, Value) -> Void) -> JSON {
        .array(
            sorted { $0.key.rawValue < $1.key.rawValue }.map { name, value in
                var parts = VectorFields()
                parts.small("register", name.rawValue)
                describe(&parts, value)
                return .object(parts.json)
            })
    }
}

extension SnapshotPoint {
    fileprivate var vectorJSON: JSON {
        let (kind, value): (UInt64, UInt64) =
            switch self {
            case .ready: (1, 0)
            case .steps(let count): (2, count)
            case .address(let address): (3, address)
            }
        return .object(["kind": .number(kind), "value": .string(String(value))])
    }
}

extension [MemoryRange] {
    fileprivate var vectorJSON: JSON {
        .array(map { .object(["address": .string(String($0.address)), "count": .string(String($0.count))]) })
    }
}

extension ResultReport {
    fileprivate func describe(in fields: inout VectorFields) {
        fields.small("outcome", outcome.rawValue)
        fields.small("code", details.code)
        fields.small("vector", details.vector)
        fields.small("error_code", details.errorCode)
        fields.big("address", details.address)
        fields.big("rip", details.rip)
        fields.bytes("instruction", details.instruction)
        fields.big("limit", details.limit)
        fields.big("used", details.used)
        fields.small("canceller", details.canceller?.rawValue)
        fields.text("text", details.text)
        fields.small("meter", meter?.rawValue)
        fields.text("meter_reason", meterReason)
        fields.big("steps", steps)
        fields.big("queue_ns", queueNanoseconds)
        fields.big("wall_ns", wallNanoseconds)
        fields.put("exits", exits?.vectorJSON)
        fields.big("output_bytes", outputBytes)
        fields.big("unclaimed_port_writes", unclaimedPortWrites)
        fields.big("dropped_memory_writes", droppedMemoryWrites)
        fields.put("registers", registers?.vectorJSON)
        fields.put("system", system?.vectorJSON)
        fields.big("cpu_ns", cpuNanoseconds)
        fields.big("touched_bytes", touchedBytes)
        fields.small("cause_vector", causeVector)
        fields.small("cause_error_code", causeErrorCode)
        fields.big("cause_address", causeAddress)
        fields.put("code_window", code?.vectorJSON)
        fields.put("stack_window", stack?.vectorJSON)
        fields.put("exit_log", exitLog.map { .array($0.map { .object($0.vectorFields(kind: "kind").json) }) })
        fields.bytes("fpu", fpu)
        fields.bytes("digest", digest)
        fields.bytes("snapshot", details.snapshot?.bytes)
        fields.small("signal", signal)
        fields.big("system_calls", systemCalls)
        fields.put("unknown_calls", unknownCalls.map { .array($0.map { .number(UInt64($0)) }) })
        fields.text("place", place)
        fields.big("peak_bytes", peakBytes)
        fields.put("processors", processors.map { .array($0.map(\.vectorJSON)) })
        fields.put("processor_registers", processorRegisters.map { .array($0.map(\.vectorJSON)) })
    }
}

extension ProcessorReport {
    fileprivate var vectorJSON: JSON {
        var fields = VectorFields()
        fields.small("state", state.rawValue)
        fields.big("steps", steps)
        fields.big("cpu_ns", cpuNanoseconds)
        return .object(fields.json)
    }
}

extension Registers? {
    fileprivate var vectorJSON: JSON {
        var fields = VectorFields()
        fields.small("known", self == nil ? UInt8(0) : 1)
        for name in RegisterName.allCases { fields.big(name.name, self?[name] ?? 0) }
        return .object(fields.json)
    }
}

extension [[UInt8]] {
    fileprivate var vectorJSON: JSON {
        .array(
            map { string in
                var fields = VectorFields()
                fields.bytes("string", string)
                return fields.json["string"] ?? .null
            })
    }
}

extension [ProgramSpec.Layer] {
    fileprivate var vectorJSON: JSON {
        .array(
            map { layer in
                var fields = VectorFields()
                fields.bytes("digest", layer.digest.bytes)
                fields.big("bytes", layer.bytes)
                return .object(fields.json)
            })
    }
}

extension MemoryWindow {
    fileprivate var vectorJSON: JSON {
        var fields = VectorFields()
        fields.big("address", address)
        fields.bytes("bytes", bytes)
        return .object(fields.json)
    }
}

extension ExitRecord {
    /// The record's parts; its kind has different names in the vectors.
    fileprivate func vectorFields(kind name: String) -> VectorFields {
        var fields = VectorFields()
        fields.small(name, kind.rawValue)
        fields.small("size", size)
        fields.small("elements", count)
        fields.big("address", address)
        fields.big("value", value)
        fields.big("rip", rip)
        return fields
    }
}

extension MemoryRecord {
    /// The record as `records.json` shows it.
    var vectorJSON: JSON { MemoryWindow(address: address, bytes: bytes).vectorJSON }
}

extension TraceRecord {
    /// The record as `records.json` shows it.
    var vectorJSON: JSON {
        var fields: VectorFields
        switch self {
        case .exit(let record):
            fields = record.vectorFields(kind: "exit")
            fields.text("kind", "exit")
        case .step(let step):
            fields = VectorFields()
            fields.text("kind", "step")
            fields.big("rip", step.rip)
            fields.big("linear_address", step.linearAddress)
            fields.small("bits", step.bits)
            fields.bytes("code", step.code)
            fields.put(
                "changes",
                .array(
                    step.changes.map {
                        .object(["register": .number(UInt64($0.name.rawValue)), "value": .string(String($0.value))])
                    }))
        }
        return .object(fields.json)
    }
}

extension Registers {
    fileprivate var vectorJSON: JSON { .array(RegisterName.allCases.map { .string(String(self[$0])) }) }
}

extension ExitCounts {
    fileprivate var vectorJSON: JSON {
        var fields = VectorFields()
        fields.big("port_io", io)
        fields.big("mmio", mmio)
        fields.big("debug", debug)
        fields.big("interrupted", interrupted)
        fields.big("other", other)
        return .object(fields.json)
    }
}

extension Segment {
    fileprivate func describe(in fields: inout VectorFields) {
        fields.big("base", base)
        fields.small("limit", limit)
        fields.small("selector", selector)
        fields.small("attributes", attributes.rawValue)
    }
}

extension DescriptorTable {
    fileprivate func describe(in fields: inout VectorFields) {
        fields.big("base", base)
        fields.small("limit", limit)
    }
}

extension SystemRegisters {
    fileprivate var vectorJSON: JSON {
        var fields = VectorFields()
        for (name, segment) in [
            ("cs", cs), ("ds", ds), ("es", es), ("fs", fs), ("gs", gs), ("ss", ss), ("tr", tr), ("ldt", ldt),
        ] {
            var parts = VectorFields()
            segment.describe(in: &parts)
            fields.put(name, .object(parts.json))
        }
        for (name, table) in [("gdt", gdt), ("idt", idt)] {
            var parts = VectorFields()
            table.describe(in: &parts)
            fields.put(name, .object(parts.json))
        }
        for (name, value) in [
            ("cr0", cr0), ("cr2", cr2), ("cr3", cr3), ("cr4", cr4), ("cr8", cr8), ("efer", efer),
            ("apic_base", apicBase),
        ] { fields.big(name, value) }
        return .object(fields.json)
    }
}
