// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// What a client asks for, as it came: the mode can be one that this program does not know, and nothing has been compared
/// with the worker's limits.
public struct Submit: Sendable, Hashable {
    /// The largest label in bytes.
    public static let labelLimit = 128
    /// The most registers that can be set: all but RIP.
    public static let registerLimit = 17
    /// Bytes of one register: its number and its value.
    static let registerSize = 9

    /// A name for people.
    public var label: String?
    /// The number of a mode.
    public var mode: UInt8
    /// Bytes of the image, or of all layers together; 0 with ``from``.
    public var imageBytes: UInt64
    /// The guest physical address of the image's first byte.
    public var loadAddress: UInt64?
    /// The address of the first instruction.
    public var entryPoint: UInt64?
    /// First values of registers, never of RIP.
    public var registers: [RegisterName: UInt64]?
    /// Bytes of guest memory.
    public var memoryBytes: UInt64?
    /// The most steps.
    public var stepBudget: UInt64?
    /// The most wall time in nanoseconds.
    public var wallBudget: UInt64?
    /// Whether writes to unclaimed ports are streamed.
    public var portWrites: Bool?
    /// Whether INPUT frames will come.
    public var input: Bool?
    /// The most processor time in nanoseconds.
    public var cpuBudget: UInt64?
    /// The most exits.
    public var exitBudget: UInt64?
    /// The most bytes of output.
    public var outputBudget: UInt64?
    /// The most bytes of guest memory that host memory may back.
    public var memoryBudget: UInt64?
    /// How steps are counted.
    public var meter: MeterRequest?
    /// Whether the job is paused when its steps are used up.
    public var pause: Bool?
    /// What the result tells beyond its figures.
    public var report: ReportContents?
    /// First values of segment registers.
    public var segments: [SegmentName: Segment]?
    /// First values of GDTR and IDTR.
    public var tables: [TableName: DescriptorTable]?
    /// First values of control registers.
    public var controls: [ControlName: UInt64]?
    /// Where the image's bytes go.
    public var pieces: [MemoryRange]?
    /// Memory that is sent at the end.
    public var dumps: [MemoryRange]?
    /// Whether each step is told.
    public var trace: Bool?
    /// Whether everything that could differ between two runs is fixed.
    public var deterministic: Bool?
    /// SHA-256 of the image: it follows only if the worker wants it.
    public var imageDigest: ContentDigest?
    /// Where the job ends to be kept.
    public var snapshot: SnapshotPoint?
    /// The snapshot to start from, in place of an image.
    public var from: ContentDigest?
    /// The path of a program to execute, in place of an image.
    public var program: [UInt8]?
    /// The program's arguments, its name first.
    public var arguments: [[UInt8]]?
    /// The program's environment.
    public var environment: [[UInt8]]?
    /// What the program's files are made of, the lowest first.
    public var layers: [ProgramSpec.Layer]?
    /// What the program's clocks show.
    public var clock: ProgramSpec.Clock?
    /// What the program's random bytes are made from.
    public var seed: UInt64?
    /// The most bytes that the program may have written to files.
    public var scratchBytes: UInt64?
    /// Which of the same user's waiting jobs goes first, 0 to 9.
    public var priority: UInt8?
    /// The most nanoseconds that the job may wait for its first start.
    public var waitBudget: UInt64?
    /// Whether the worker takes the job over.
    public var detach: Bool?
    /// The name under which a detached job is submitted once.
    public var key: String?
    /// What the guest finds around its processor.
    public var board: BoardKind?
    /// Whether the image is a ROM.
    public var rom: Bool?
    /// How many vCPUs the guest has.
    public var vcpus: UInt8?
    /// Steps after which the next vCPU's turn comes.
    public var turn: UInt64?

    /// A submission of a mode and an image's size, with every default.
    public init(mode: UInt8, imageBytes: UInt64) { (self.mode, self.imageBytes) = (mode, imageBytes) }

    /// The submission of this spec, from an image, the files of a program, or a snapshot. Which layers the program has, the files say.
    ///
    /// A snapshot decides the mode and the size of memory, so that the spec's are left out; what else the spec says of the start is
    /// for the worker to refuse.
    public init(_ spec: JobSpec, source: JobSource) {
        switch source {
        case .image(let image):
            self.init(spec, imageBytes: UInt64(image.bytes.count))
            imageDigest = image.digest
        case .program(let files):
            let layers = files.compactMap { image in
                image.digest.map { ProgramSpec.Layer(digest: $0, bytes: UInt64(image.bytes.count)) }
            }
            self.init(spec, imageBytes: layers.reduce(0) { $0 + $1.bytes })
            self.layers = layers.isEmpty ? nil : layers
        case .snapshot(let name):
            self.init(spec, imageBytes: 0)
            (mode, memoryBytes, from) = (0, nil, name)
        }
    }

    /// The submission of this spec. RIP among its registers is left out: the entry point says it.
    init(_ spec: JobSpec, imageBytes: UInt64) {
        self.init(mode: spec.mode.rawValue, imageBytes: imageBytes)
        label = spec.label.isEmpty ? nil : spec.label
        loadAddress = spec.loadAddress
        entryPoint = spec.entryPoint
        let settable = spec.registers.filter { $0.key != .rip }
        registers = settable.isEmpty ? nil : settable
        memoryBytes = spec.memoryBytes
        stepBudget = spec.budget.steps
        wallBudget = spec.budget.wallTime.wholeNanoseconds
        portWrites = spec.reportsPortWrites ? true : nil
        input = spec.hasInput ? true : nil
        cpuBudget = spec.budget.cpuTime?.wholeNanoseconds
        (exitBudget, outputBudget) = (spec.budget.exits, spec.budget.outputBytes)
        (memoryBudget, meter) = (spec.budget.touchedBytes, spec.meter)
        pause = spec.pausesWhenStepsRunOut ? true : nil
        report = spec.report.isEmpty ? nil : spec.report
        segments = spec.segments.isEmpty ? nil : spec.segments
        tables = spec.tables.isEmpty ? nil : spec.tables
        controls = spec.controls.isEmpty ? nil : spec.controls
        pieces = spec.pieces.isEmpty ? nil : spec.pieces
        dumps = spec.dumps.isEmpty ? nil : spec.dumps
        trace = spec.isTraced ? true : nil
        deterministic = spec.isDeterministic ? true : nil
        snapshot = spec.snapshot
        priority = spec.priority == JobPriority.normal ? nil : spec.priority
        waitBudget = spec.waitLimit
        (detach, key) = (spec.detachment == nil ? nil : true, spec.detachment?.key)
        (board, rom) = (spec.board == .bare ? nil : spec.board, spec.isROM ? true : nil)
        (vcpus, turn) = (spec.vcpus == 1 ? nil : UInt8(clamping: spec.vcpus), spec.turn)
        spec.program.map { describe($0) }
    }

    private mutating func describe(_ spec: ProgramSpec) {
        program = spec.path
        arguments = spec.arguments.isEmpty ? nil : spec.arguments
        environment = spec.environment.isEmpty ? nil : spec.environment
        layers = spec.layers.isEmpty ? nil : spec.layers
        (clock, seed, scratchBytes) = (spec.clock, spec.seed, spec.scratchBytes)
    }

    /// The spec, with defaults filled in, of a submission in a mode that this program knows.
    func spec(mode: GuestMode) -> JobSpec {
        var spec = JobSpec(
            label: label ?? "", mode: mode, loadAddress: loadAddress, entryPoint: entryPoint,
            registers: registers ?? [:], memoryBytes: memoryBytes ?? mode.defaultMemoryBytes, budget: budget,
            reportsPortWrites: portWrites ?? false, hasInput: input ?? false)
        spec.meter = meter
        spec.pausesWhenStepsRunOut = pause ?? false
        spec.report = report ?? []
        (spec.segments, spec.tables, spec.controls) = (segments ?? [:], tables ?? [:], controls ?? [:])
        (spec.pieces, spec.dumps) = (pieces ?? [], dumps ?? [])
        (spec.isTraced, spec.isDeterministic) = (trace ?? false, deterministic ?? false)
        spec.snapshot = snapshot
        spec.program = programSpec
        (spec.priority, spec.waitLimit) = (priority ?? JobPriority.normal, waitBudget)
        spec.detachment = detach == true ? Detachment(key: key) : nil
        (spec.board, spec.isROM) = (board ?? .bare, rom ?? false)
        (spec.vcpus, spec.turn) = (vcpus.map(Int.init) ?? 1, turn)
        return spec
    }

    /// The program, with defaults filled in.
    var programSpec: ProgramSpec? {
        guard let program else { return nil }
        var spec = ProgramSpec(
            path: program, arguments: arguments ?? [], environment: environment ?? [], layers: layers ?? [])
        (spec.clock, spec.seed) = (clock ?? .real, seed)
        spec.scratchBytes = scratchBytes ?? ProgramSpec.defaultScratchBytes
        return spec
    }

    private var budget: Budget {
        Budget(
            steps: stepBudget, wallTime: wallBudget.map { Duration(wholeNanoseconds: $0) } ?? Budget.defaultWallTime,
            cpuTime: cpuBudget.map { Duration(wholeNanoseconds: $0) }, exits: exitBudget, outputBytes: outputBudget,
            touchedBytes: memoryBudget)
    }

    private enum Tag: UInt16 {
        case label = 0x0001
        case mode = 0x8002
        case imageBytes, loadAddress, entryPoint, registers, memoryBytes, stepBudget, wallBudget, portWrites, input
        case cpuBudget, exitBudget, outputBudget, memoryBudget, meter, pause, report, segments, tables, controls, pieces
        case dumps, trace, deterministic, imageDigest, snapshot, from
        case program, arguments, environment, layers, clock, seed, scratchBytes
        case priority, waitBudget, detach, key
        case board, rom, vcpus, turn
    }

    /// - Throws: with the frame's job number, a refusal, when the only thing wrong is a critical field that is not known.
    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .submit)
        var (mode, imageBytes): (UInt8?, UInt64?)
        var refusal: WireError?
        self.init(mode: 0, imageBytes: 0)
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .label: label = try field.text(atMost: Self.labelLimit)
            case .mode: mode = try field.integer()
            case .imageBytes: imageBytes = try field.integer()
            case .loadAddress: loadAddress = try field.integer()
            case .entryPoint: entryPoint = try field.integer()
            case .registers: registers = try Self.registers(field)
            case .memoryBytes: memoryBytes = try field.integer()
            case .stepBudget: stepBudget = try field.integer()
            case .wallBudget: wallBudget = try field.integer()
            case .portWrites: portWrites = try field.flag()
            case .input: input = try field.flag()
            case .cpuBudget: cpuBudget = try field.integer()
            case .exitBudget: exitBudget = try field.integer()
            case .outputBudget: outputBudget = try field.integer()
            case .memoryBudget: memoryBudget = try field.integer()
            case .meter: meter = try field.known()
            case .pause: pause = try field.flag()
            case .report: report = try field.reportContents()
            case .segments: segments = try field.segments()
            case .tables: tables = try field.tables()
            case .controls: controls = try field.controls()
            case .pieces: pieces = try field.ranges(atMost: MemoryRange.pieceLimit)
            case .dumps: dumps = try field.ranges(atMost: MemoryRange.dumpLimit)
            case .trace: trace = try field.flag()
            case .deterministic: deterministic = try field.flag()
            case .imageDigest: imageDigest = try field.digest()
            case .snapshot: snapshot = try field.snapshotPoint()
            case .from: from = try field.digest()
            case .program: program = try field.path()
            case .arguments: arguments = try field.strings()
            case .environment: environment = try field.strings()
            case .layers: layers = try field.layers()
            case .clock: clock = try field.known()
            case .seed: seed = try field.integer()
            case .scratchBytes: scratchBytes = try field.integer()
            case .priority: priority = try field.integer(in: JobPriority.range)
            case .waitBudget: waitBudget = try field.integer()
            case .detach: detach = try field.flag()
            case .key: key = try field.key()
            case .board: board = try field.known()
            case .rom: rom = try field.flag()
            case .vcpus: vcpus = try field.integer()
            case .turn: turn = try field.integer()
            case nil:
                do throws(WireError) { try field.skip() } catch { refusal = refusal ?? error }
            }
        }
        guard let mode else { throw fields.missing(Tag.mode) }
        guard let imageBytes else { throw fields.missing(Tag.imageBytes) }
        if var refusal {
            refusal.job = frame.header.job
            throw refusal
        }
        (self.mode, self.imageBytes) = (mode, imageBytes)
    }

    private static func registers(_ field: Field) throws(WireError) -> [RegisterName: UInt64] {
        let bytes = try field.bytes(atMost: registerLimit * registerSize, multipleOf: registerSize)
        var registers: [RegisterName: UInt64] = [:]
        var last: UInt8?
        for at in stride(from: bytes.startIndex, to: bytes.endIndex, by: registerSize) {
            guard let name = RegisterName(rawValue: bytes[at]), name != .rip, last.map({ $0 < bytes[at] }) ?? true
            else {
                throw field.badValue(bytes[at])
            }
            last = bytes[at]
            registers[name] = UInt64(bigEndianBytes: bytes[at + 1..<at + registerSize])
        }
        return registers
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter(.submit, job: job)
        fields.put(Tag.label, text: label, atMost: Self.labelLimit)
        fields.put(Tag.mode, mode)
        fields.put(Tag.imageBytes, imageBytes)
        fields.put(Tag.loadAddress, loadAddress)
        fields.put(Tag.entryPoint, entryPoint)
        fields.put(Tag.registers, bytes: registers.map(Self.encode))
        fields.put(Tag.memoryBytes, memoryBytes)
        fields.put(Tag.stepBudget, stepBudget)
        fields.put(Tag.wallBudget, wallBudget)
        fields.put(Tag.portWrites, flag: portWrites)
        fields.put(Tag.input, flag: input)
        fields.put(Tag.cpuBudget, cpuBudget)
        fields.put(Tag.exitBudget, exitBudget)
        fields.put(Tag.outputBudget, outputBudget)
        fields.put(Tag.memoryBudget, memoryBudget)
        fields.put(Tag.meter, meter?.rawValue)
        fields.put(Tag.pause, flag: pause)
        fields.put(Tag.report, report?.rawValue)
        fields.put(Tag.segments, bytes: segments?.wire)
        fields.put(Tag.tables, bytes: tables?.wire)
        fields.put(Tag.controls, bytes: controls?.wire)
        fields.put(Tag.pieces, bytes: pieces?.wire)
        fields.put(Tag.dumps, bytes: dumps?.wire)
        fields.put(Tag.trace, flag: trace)
        fields.put(Tag.deterministic, flag: deterministic)
        fields.put(Tag.imageDigest, bytes: imageDigest?.bytes)
        fields.put(Tag.snapshot, bytes: snapshot?.wire)
        fields.put(Tag.from, bytes: from?.bytes)
        fields.put(Tag.program, bytes: program)
        fields.put(Tag.arguments, bytes: arguments?.wire)
        fields.put(Tag.environment, bytes: environment?.wire)
        fields.put(Tag.layers, bytes: layers?.wire)
        fields.put(Tag.clock, clock?.rawValue)
        fields.put(Tag.seed, seed)
        fields.put(Tag.scratchBytes, scratchBytes)
        fields.put(Tag.priority, priority)
        fields.put(Tag.waitBudget, waitBudget)
        fields.put(Tag.detach, flag: detach)
        fields.put(Tag.key, text: key, atMost: Detachment.keyLimit)
        fields.put(Tag.board, board?.rawValue)
        fields.put(Tag.rom, flag: rom)
        fields.put(Tag.vcpus, vcpus)
        fields.put(Tag.turn, turn)
        return fields.finish()
    }

    private static func encode(_ registers: [RegisterName: UInt64]) -> [UInt8] {
        var bytes: [UInt8] = []
        for (name, value) in registers.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            bytes.append(name.rawValue)
            bytes.append(bigEndian: value)
        }
        return bytes
    }
}
