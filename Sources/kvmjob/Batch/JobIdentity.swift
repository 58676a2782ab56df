// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol

/// What a batch's job is known by: the first 32 hexadecimal digits of a SHA-256 digest over everything that decides on what the
/// job does, so that the same job has the same id in each run of each manifest, on every machine.
///
/// What is hashed are fields, one after the other in the order below, each as `NAME SP COUNT LF BYTES LF`: COUNT is the number of
/// BYTES in decimal. The first is `kvmjob-job` with the bytes `1`. A field that a job does not have is left out. Numbers are in decimal,
/// yes is `1`, and digests are 64 hexadecimal digits.
///
/// | field | bytes |
/// |---|---|
/// | `image` | digest of the image, with the pieces of memory beside it behind it |
/// | `layer` | digest of a program's archive; as many fields as there are archives |
/// | `from` | the snapshot's name |
/// | `input` | digest of all of the input |
/// | `mode` | `real16`, `protected32`, `long64`, `user64` or `linux` |
/// | `load`, `entry` | addresses |
/// | `register`, `control` | `NAME=NUMBER`, sorted by name |
/// | `segment` | `NAME=BASE,LIMIT,SELECTOR,ATTRIBUTES`, sorted by name |
/// | `table` | `NAME=BASE,LIMIT`, sorted by name |
/// | `piece` | `ADDRESS,COUNT` of each part of the image, where it has several |
/// | `memory` | bytes |
/// | `steps`, `wall`, `cpu`, `exits`, `output`, `touched` | budgets, times in nanoseconds |
/// | `meter` | `exact` or `stepped` |
/// | `path`, `argument`, `variable` | of a program |
/// | `clock`, `seed`, `scratch` | of a program |
/// | `port-writes`, `deterministic` | yes |
/// | `board` | `pc` |
/// | `rom` | yes |
/// | `vcpus`, `turn` | how many, if there are several; steps |
/// | `report` | the bits of what the result tells, as on the wire |
/// | `dump` | `ADDRESS,COUNT` of each window |
///
/// The label, the priority, the longest wait and the place in the file are no part of it.
struct JobIdentity {
    private var bytes: [UInt8] = []

    /// Hexadecimal digits of an id.
    static let digits = 32

    init(_ job: BatchJob) {
        add("kvmjob-job", "1")
        add(job.source)
        if let input = job.input { add("input", ContentDigest(hashing: input)) }
        let spec = job.spec
        add("mode", spec.mode.name)
        add("load", spec.loadAddress)
        add("entry", spec.entryPoint)
        addState(of: spec)
        for piece in spec.pieces { add("piece", "\(piece.address),\(piece.count)") }
        add("memory", spec.memoryBytes)
        add(spec.budget, hasWall: job.hasOwnWallTime)
        if let meter = spec.meter { add("meter", meter.name) }
        if let program = spec.program { add(program) }
        if spec.reportsPortWrites { add("port-writes", "1") }
        if spec.isDeterministic { add("deterministic", "1") }
        if spec.board != .bare { add("board", spec.board.name) }
        if spec.isROM { add("rom", "1") }
        if spec.vcpus != 1 { add("vcpus", UInt64(clamping: spec.vcpus)) }
        if let turn = spec.turn { add("turn", turn) }
        if !spec.report.isEmpty { add("report", spec.report.rawValue) }
        for dump in spec.dumps { add("dump", "\(dump.address),\(dump.count)") }
    }

    /// The id.
    var text: String { String(HexText.describe(digest: ContentDigest(hashing: bytes).bytes).prefix(Self.digits)) }

    /// The id of a job that was there before in the same manifest: `ID-2` is the second.
    static func repeated(_ id: String, _ count: Int) -> String { count == 1 ? id : "\(id)-\(count)" }

    // MARK: Fields

    private mutating func add(_ source: JobSource) {
        switch source {
        case .image(let image): add("image", image.digest ?? ContentDigest(hashing: image.bytes))
        case .program(let files):
            for file in files { add("layer", file.digest ?? ContentDigest(hashing: file.bytes)) }
        case .snapshot(let name): add("from", name)
        }
    }

    private mutating func addState(of spec: JobSpec) {
        for name in RegisterName.allCases {
            if let value = spec.registers[name] { add("register", "\(name.name)=\(value)") }
        }
        for (name, value) in spec.controls.sorted(by: { $0.key.name < $1.key.name }) {
            add("control", "\(name.name)=\(value)")
        }
        for (name, segment) in spec.segments.sorted(by: { $0.key.name < $1.key.name }) {
            let parts = "\(segment.base),\(segment.limit),\(segment.selector),\(segment.attributes.rawValue)"
            add("segment", "\(name.name)=\(parts)")
        }
        for (name, table) in spec.tables.sorted(by: { $0.key.name < $1.key.name }) {
            add("table", "\(name.name)=\(table.base),\(table.limit)")
        }
    }

    private mutating func add(_ budget: Budget, hasWall: Bool) {
        add("steps", budget.steps)
        if hasWall { add("wall", budget.wallTime.wholeNanoseconds) }
        add("cpu", budget.cpuTime?.wholeNanoseconds)
        add("exits", budget.exits)
        add("output", budget.outputBytes)
        add("touched", budget.touchedBytes)
    }

    private mutating func add(_ program: ProgramSpec) {
        add("path", bytes: program.path)
        for argument in program.arguments { add("argument", bytes: argument) }
        for variable in program.environment { add("variable", bytes: variable) }
        add("clock", program.clock.name)
        add("seed", program.seed)
        add("scratch", program.scratchBytes)
    }

    private mutating func add(_ name: String, _ digest: ContentDigest) {
        add(name, HexText.describe(digest: digest.bytes))
    }

    private mutating func add(_ name: String, _ number: (some BinaryInteger)?) {
        if let number { add(name, String(number)) }
    }

    private mutating func add(_ name: String, _ text: String) { add(name, bytes: Array(text.utf8)) }

    private mutating func add(_ name: String, bytes value: [UInt8]) {
        bytes += "\(name) \(value.count)\n".utf8
        bytes += value
        bytes.append(UInt8(ascii: "\n"))
    }
}
