// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import JobModel

/// A job with all that it takes to run it again: the `job` of a deterministic job's JSON report.
///
/// | key | value |
/// |---|---|
/// | `image_base64` | the image |
/// | `input_base64` | what the guest reads; null or absent for a job without input |
/// | `spec` | an object, below; what is null or absent has the default of `kvmjob submit` |
///
/// | key of `spec` | value |
/// |---|---|
/// | `mode` | `real16`, `protected32`, `long64` or `user64`; required |
/// | `label` | text, at most 128 bytes |
/// | `load_address`, `entry_point` | addresses |
/// | `registers`, `controls` | an object of names and values, such as `{"rax": "0x2"}` |
/// | `segments` | an object of names and `base`, `limit`, `selector`, `attributes` |
/// | `tables` | an object of `gdt`, `idt` and `base`, `limit` |
/// | `memory_bytes` | a number |
/// | `step_budget`, `exit_budget`, `output_budget`, `memory_budget` | numbers |
/// | `wall_budget_ns`, `cpu_budget_ns` | nanoseconds |
/// | `meter` | `exact` or `stepped` |
/// | `pieces`, `dumps` | lists of `address` and `count` |
/// | `report` | a list of `exit_log`, `code`, `stack`, `fpu`, `digest` |
/// | `snapshot` | an object of one of `ready` (true), `at_step` (a number), `at_address` (an address) |
/// | `board` | `bare` or `pc` |
/// | `vcpus`, `turn` | numbers |
/// | `port_writes`, `pause`, `trace`, `deterministic`, `rom` | true or false |
///
/// Addresses and the values of registers are strings in hexadecimal, as everywhere in kvmjob's JSON; counts are numbers. A key of
/// `spec` that is not listed is an error: without what it asks for, the job would be another one.
struct JobDescription: Sendable, Hashable {
    /// The most bytes of an image that is described: 64 MiB, as many as a worker takes by default.
    static let imageLimit = 64 << 20

    /// What was submitted. Whether there is input follows from ``input``.
    var spec: JobSpec
    var image: [UInt8]
    /// All of the guest's input, or nil where it has none.
    var input: [UInt8]?

    init(spec: JobSpec, image: [UInt8], input: [UInt8]?) {
        (self.spec, self.image, self.input) = (spec, image, input)
        self.spec.hasInput = input != nil
    }

    /// The description as JSON on one line, the same for the same job.
    var json: [UInt8] {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return Array(try encoder.encode(self))
        }
    }
}

extension JobDescription: Codable {
    private enum CodingKeys: String, CodingKey {
        case spec
        case image = "image_base64"
        case input = "input_base64"
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        let image = try values.decode(Data.self, forKey: .image)
        guard image.count <= Self.imageLimit else {
            throw DecodingError.dataCorruptedError(
                forKey: .image, in: values,
                debugDescription: "an image of \(image.count) bytes is larger than \(Self.imageLimit)")
        }
        let input = try values.decodeIfPresent(Data.self, forKey: .input).map { Array($0) }
        let fields = try values.decode(SpecFields.self, forKey: .spec)
        self.init(
            spec: try fields.spec(path: decoder.codingPath + [CodingKeys.spec]), image: Array(image), input: input)
    }

    func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(SpecFields(spec), forKey: .spec)
        try values.encode(Data(image), forKey: .image)
        try values.encode(input.map { Data($0) }, forKey: .input)
    }
}

/// A spec as its JSON has it.
private struct SpecFields: Codable {
    var label: String?
    var mode: String
    var loadAddress: HexNumber?, entryPoint: HexNumber?
    var registers: [String: HexNumber]?
    var memoryBytes: UInt64?
    var stepBudget: UInt64?, wallBudget: UInt64?, cpuBudget: UInt64?
    var exitBudget: UInt64?, outputBudget: UInt64?, memoryBudget: UInt64?
    var portWrites: Bool?, pause: Bool?, trace: Bool?, deterministic: Bool?
    var board: String?, rom: Bool?
    var vcpus: UInt8?, turn: UInt64?
    var meter: String?
    var segments: [String: SegmentFields]?
    var tables: [String: TableFields]?
    var controls: [String: HexNumber]?
    var pieces: [RangeFields]?, dumps: [RangeFields]?
    var report: [String]?
    var snapshot: SnapshotFields?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case label, mode, registers, pause, trace, deterministic, meter, segments, tables, controls, pieces, dumps,
            report, snapshot, board, rom, vcpus, turn
        case loadAddress = "load_address", entryPoint = "entry_point", memoryBytes = "memory_bytes"
        case stepBudget = "step_budget", wallBudget = "wall_budget_ns", cpuBudget = "cpu_budget_ns"
        case exitBudget = "exit_budget", outputBudget = "output_budget", memoryBudget = "memory_budget"
        case portWrites = "port_writes"
    }

    struct SegmentFields: Codable {
        var base: HexNumber, limit: HexNumber, selector: HexNumber, attributes: HexNumber
    }

    struct TableFields: Codable {
        var base: HexNumber, limit: HexNumber
    }

    struct RangeFields: Codable {
        var address: HexNumber, count: UInt64

        init(_ range: MemoryRange) { (address, count) = (HexNumber(range.address), range.count) }

        var range: MemoryRange { MemoryRange(address: address.value, count: count) }
    }

    struct SnapshotFields: Codable {
        var ready: Bool?
        var step: UInt64?
        var address: HexNumber?

        enum CodingKeys: String, CodingKey {
            case ready
            case step = "at_step", address = "at_address"
        }

        init(_ point: SnapshotPoint) {
            switch point {
            case .ready: ready = true
            case .steps(let count): step = count
            case .address(let linear): address = HexNumber(linear)
            }
        }

        /// Nil unless it is one.
        var point: SnapshotPoint? {
            switch (ready, step, address) {
            case (true, nil, nil): .ready
            case (nil, let step?, nil): .steps(step)
            case (nil, nil, let address?): .address(address.value)
            default: nil
            }
        }
    }
}

/// A number that is a string in hexadecimal, such as "0x1f".
private struct HexNumber: Codable {
    var value: UInt64

    init(_ value: some BinaryInteger) { self.value = UInt64(value) }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        do {
            value = try WholeNumber.parse(text)
        } catch {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: error.description)
        }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(HexText.describe(value))
    }
}

// MARK: - From a spec

extension SpecFields {
    init(_ spec: JobSpec) {
        (label, mode) = (spec.label, spec.mode.name)
        (loadAddress, entryPoint) = (spec.loadAddress.map { HexNumber($0) }, spec.entryPoint.map { HexNumber($0) })
        registers = Self.named(spec.registers) { $0.name }
        controls = Self.named(spec.controls) { $0.name }
        memoryBytes = spec.memoryBytes
        (stepBudget, wallBudget) = (spec.budget.steps, spec.budget.wallTime.wholeNanoseconds)
        (cpuBudget, exitBudget) = (spec.budget.cpuTime?.wholeNanoseconds, spec.budget.exits)
        (outputBudget, memoryBudget) = (spec.budget.outputBytes, spec.budget.touchedBytes)
        (portWrites, pause) = (spec.reportsPortWrites, spec.pausesWhenStepsRunOut)
        (trace, deterministic) = (spec.isTraced, spec.isDeterministic)
        (board, rom) = (spec.board == .bare ? nil : spec.board.name, spec.isROM ? true : nil)
        (vcpus, turn) = (spec.vcpus == 1 ? nil : UInt8(clamping: spec.vcpus), spec.turn)
        meter = spec.meter?.name
        segments = Dictionary(
            uniqueKeysWithValues: spec.segments.map { name, segment in
                let fields = SegmentFields(
                    base: HexNumber(segment.base), limit: HexNumber(segment.limit),
                    selector: HexNumber(segment.selector), attributes: HexNumber(segment.attributes.rawValue))
                return (name.name, fields)
            })
        tables = Dictionary(
            uniqueKeysWithValues: spec.tables.map { name, table in
                (name.name, TableFields(base: HexNumber(table.base), limit: HexNumber(table.limit)))
            })
        (pieces, dumps) = (spec.pieces.map(RangeFields.init), spec.dumps.map(RangeFields.init))
        report = ReportContents.names.filter { spec.report.contains($0.part) }.map(\.name)
        snapshot = spec.snapshot.map(SnapshotFields.init)
    }

    private static func named<Name>(
        _ values: [Name: UInt64], _ name: (Name) -> String
    ) -> [String: HexNumber] {
        Dictionary(uniqueKeysWithValues: values.map { (name($0.key), HexNumber($0.value)) })
    }
}

extension ReportContents {
    fileprivate static let names: [(part: ReportContents, name: String)] = [
        (.exits, "exit_log"), (.code, "code"), (.stack, "stack"), (.fpu, "fpu"), (.digest, "digest"),
    ]
}

// MARK: - To a spec

extension SpecFields {
    init(from decoder: any Decoder) throws {
        let known = Set(CodingKeys.allCases.map(\.rawValue))
        let given = try decoder.container(keyedBy: JSONKey.self).allKeys.map(\.stringValue)
        if let unknown = given.filter({ !known.contains($0) }).min() {
            throw Self.wrong("this kvmjob does not know this key", decoder.codingPath + [JSONKey(stringValue: unknown)])
        }
        let values = try decoder.container(keyedBy: CodingKeys.self)
        func optional<T: Decodable>(_ key: CodingKeys) throws -> T? {
            try values.decodeIfPresent(T.self, forKey: key)
        }
        mode = try values.decode(String.self, forKey: .mode)
        (label, meter) = (try optional(.label), try optional(.meter))
        (loadAddress, entryPoint) = (try optional(.loadAddress), try optional(.entryPoint))
        (registers, controls) = (try optional(.registers), try optional(.controls))
        (segments, tables) = (try optional(.segments), try optional(.tables))
        memoryBytes = try optional(.memoryBytes)
        (stepBudget, wallBudget, cpuBudget) = (
            try optional(.stepBudget), try optional(.wallBudget), try optional(.cpuBudget)
        )
        (exitBudget, outputBudget, memoryBudget) = (
            try optional(.exitBudget), try optional(.outputBudget), try optional(.memoryBudget)
        )
        (portWrites, pause) = (try optional(.portWrites), try optional(.pause))
        (trace, deterministic) = (try optional(.trace), try optional(.deterministic))
        (board, rom) = (try optional(.board), try optional(.rom))
        (vcpus, turn) = (try optional(.vcpus), try optional(.turn))
        (pieces, dumps, report) = (try optional(.pieces), try optional(.dumps), try optional(.report))
        snapshot = try optional(.snapshot)
    }

    /// The spec that these fields describe, without input.
    func spec(path: [any CodingKey]) throws -> JobSpec {
        var spec = JobSpec(
            label: label ?? "", mode: try Self.imageMode(mode, path),
            loadAddress: loadAddress?.value, entryPoint: entryPoint?.value,
            registers: try settings(registers, .registers, path) { name in
                RegisterName.allCases.first { $0.name == name && $0 != .rip }
            },
            memoryBytes: memoryBytes ?? JobSpec.defaultMemoryBytes, budget: budget,
            reportsPortWrites: portWrites ?? false)
        guard spec.label.utf8.count <= JobList.labelLimit else {
            throw Self.wrong("longer than \(JobList.labelLimit) bytes", path + [CodingKeys.label])
        }
        spec.meter = try meter.map { text in
            try Self.named(text, .meter, path) { name in MeterRequest.allCases.first { $0.name == name } }
        }
        spec.pausesWhenStepsRunOut = pause ?? false
        (spec.isTraced, spec.isDeterministic) = (trace ?? false, deterministic ?? false)
        spec.isROM = rom ?? false
        (spec.vcpus, spec.turn) = (vcpus.map(Int.init) ?? 1, turn)
        spec.board =
            try board.map { text in
                try Self.named(text, .board, path) { name in BoardKind.allCases.first { $0.name == name } }
            } ?? .bare
        spec.controls = try settings(controls, .controls, path) { name in ControlName.allCases.first { $0.name == name }
        }
        spec.segments = try segmentValues(path)
        spec.tables = try tableValues(path)
        spec.pieces = try Self.ranges(pieces, .pieces, limit: MemoryRange.pieceLimit, path)
        spec.dumps = try Self.ranges(dumps, .dumps, limit: MemoryRange.dumpLimit, path)
        for name in report ?? [] {
            spec.report.insert(
                try Self.named(name, .report, path) { name in ReportContents.names.first { $0.name == name }?.part })
        }
        if let snapshot {
            guard let point = snapshot.point else {
                throw Self.wrong(
                    "a snapshot has one of ready (true), at_step, at_address", path + [CodingKeys.snapshot])
            }
            spec.snapshot = point
        }
        return spec
    }

    private var budget: Budget {
        Budget(
            steps: stepBudget, wallTime: wallBudget.map(Duration.init(wholeNanoseconds:)) ?? Budget.defaultWallTime,
            cpuTime: cpuBudget.map(Duration.init(wholeNanoseconds:)), exits: exitBudget, outputBytes: outputBudget,
            touchedBytes: memoryBudget)
    }

    private static func wrong(_ text: String, _ path: [any CodingKey]) -> DecodingError {
        .dataCorrupted(DecodingError.Context(codingPath: path, debugDescription: text))
    }

    private static func imageMode(_ name: String, _ path: [any CodingKey]) throws -> GuestMode {
        guard name != GuestMode.linux.name else {
            throw wrong(
                "a Linux program cannot be run from a description, which has no room for its files",
                path + [CodingKeys.mode])
        }
        return try named(name, .mode, path, GuestMode.init(name:))
    }

    private static func named<Value>(
        _ name: String, _ key: CodingKeys, _ path: [any CodingKey], _ find: (String) -> Value?
    ) throws -> Value {
        guard let value = find(name) else { throw wrong("\"\(name)\" is not a name that is known here", path + [key]) }
        return value
    }

    private func settings<Name: Hashable>(
        _ values: [String: HexNumber]?, _ key: CodingKeys, _ path: [any CodingKey], _ find: (String) -> Name?
    ) throws -> [Name: UInt64] {
        var settings: [Name: UInt64] = [:]
        for (name, number) in values ?? [:] { settings[try Self.named(name, key, path, find)] = number.value }
        return settings
    }

    private func segmentValues(_ path: [any CodingKey]) throws -> [SegmentName: Segment] {
        var values: [SegmentName: Segment] = [:]
        for (name, fields) in segments ?? [:] {
            let place = path + [CodingKeys.segments, JSONKey(stringValue: name)]
            let found = try Self.named(name, .segments, path) { name in SegmentName.allCases.first { $0.name == name } }
            values[found] = Segment(
                base: fields.base.value, limit: try Self.narrow(fields.limit, place),
                selector: try Self.narrow(fields.selector, place),
                attributes: SegmentAttributes(rawValue: try Self.narrow(fields.attributes, place)))
        }
        return values
    }

    private func tableValues(_ path: [any CodingKey]) throws -> [TableName: DescriptorTable] {
        var values: [TableName: DescriptorTable] = [:]
        for (name, fields) in tables ?? [:] {
            let found = try Self.named(name, .tables, path) { name in TableName.allCases.first { $0.name == name } }
            let limit: UInt16 = try Self.narrow(fields.limit, path + [CodingKeys.tables, JSONKey(stringValue: name)])
            values[found] = DescriptorTable(base: fields.base.value, limit: limit)
        }
        return values
    }

    private static func narrow<T: FixedWidthInteger>(_ number: HexNumber, _ path: [any CodingKey]) throws -> T {
        guard let value = T(exactly: number.value) else {
            throw wrong("\(HexText.describe(number.value)) does not fit in \(T.bitWidth) bits", path)
        }
        return value
    }

    private static func ranges(
        _ fields: [RangeFields]?, _ key: CodingKeys, limit: Int, _ path: [any CodingKey]
    ) throws -> [MemoryRange] {
        let ranges = (fields ?? []).map(\.range)
        guard ranges.count <= limit else {
            throw wrong("\(ranges.count) of them are more than \(limit)", path + [key])
        }
        return ranges
    }
}
