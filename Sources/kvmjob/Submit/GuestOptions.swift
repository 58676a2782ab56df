// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel

/// The options that say how a guest starts and what it may use.
struct GuestOptions: ParsableArguments {
    @Option(
        name: .customLong("mode"),
        help: ArgumentHelp(
            "The processor mode that the guest starts in: real16, protected32, long64 or user64. (default: real16)",
            valueName: "mode"),
        completion: .list(GuestMode.names), transform: GuestMode.init(argument:))
    var namedMode: GuestMode?

    @Option(
        name: .customLong("board"),
        help: ArgumentHelp(
            "What is around the processor: bare, a serial port and nothing that interrupts, or pc, enough of a PC for "
                + "firmware and small kernels. (default: bare)",
            valueName: "board"),
        completion: .list(BoardKind.names), transform: BoardKind.init(argument:))
    var namedBoard: BoardKind?

    @Option(
        help: ArgumentHelp(
            "How many vCPUs, 1 to 16. Each starts at the entry, with its number in rdi (from 0), how many there are in rsi, and a "
                + "stack of its own; on --board pc by INIT and SIPI. Each takes a slot, and has --steps and --cpu-time for "
                + "itself. (default: 1)",
            valueName: "count"),
        transform: WholeNumber.parse)
    var vcpus: UInt64?

    @Option(
        help: ArgumentHelp(
            "One vCPU at a time, each for so many steps: the same run each time. Without it all run at once.",
            valueName: "steps"),
        transform: WholeNumber.parse)
    var turn: UInt64?

    @Option(
        help: ArgumentHelp("Where in guest memory the image goes; by default the mode's place.", valueName: "address"),
        transform: WholeNumber.parse)
    var load: UInt64?

    @Option(
        help: ArgumentHelp("The first instruction's address; by default the load address.", valueName: "address"),
        transform: WholeNumber.parse)
    var entry: UInt64?

    @Option(
        help: ArgumentHelp(
            "A register's first value, as in ax=2 (repeatable): rax to r15, narrower names, flags, ip; ds=0x1000 in real16; "
                + "parts such as fs.base, ds.limit, ds.attr, ds.sel, gdt.base; cr0 to cr8, efer.",
            valueName: "reg=value"),
        transform: RegisterAssignment.init(argument:))
    var set: [RegisterAssignment] = []

    @Option(
        name: .customLong("memory"),
        help: ArgumentHelp(
            "Guest memory, 1MiB to 1GiB, or in bytes. (default: 16MiB; of a kernel, what it needs)", valueName: "size"),
        transform: SizeText.parse)
    var namedMemory: UInt64?

    @Option(
        help: ArgumentHelp(
            "The most guest instructions; without it they are not counted and run at full speed.", valueName: "count"),
        transform: WholeNumber.parse)
    var steps: UInt64?

    @Option(
        help: ArgumentHelp("The longest run: 300ms, 10s, 2m. (default: 10s)", valueName: "duration"),
        transform: DurationText.parse)
    var wallTime: Duration = Budget.defaultWallTime

    @Option(
        help: ArgumentHelp(
            "The most processor time, kvmjob's service of the guest's exits included: 5ms, 2s.", valueName: "duration"),
        transform: DurationText.parse)
    var cpuTime: Duration?

    @Option(
        help: ArgumentHelp("The most port accesses, accesses outside memory and other exits.", valueName: "count"),
        transform: WholeNumber.parse)
    var exits: UInt64?

    @Option(
        help: ArgumentHelp(
            "The most output, 64KiB or in bytes; a port write shown with --port-writes counts as 8.", valueName: "size"),
        transform: SizeText.parse)
    var outputLimit: UInt64?

    @Option(
        help: ArgumentHelp(
            "The most guest memory that is ever touched, the image included; the guest sees all of --memory.",
            valueName: "size"),
        transform: SizeText.parse)
    var touchedMemory: UInt64?

    @Option(
        help: ArgumentHelp(
            """
            Count steps, with --steps or without: exact (the fastest exact way, or refuse) or stepped (stop after each \
            instruction, however long that takes).
            """),
        completion: .list(MeterRequest.names), transform: MeterRequest.init(argument:))
    var meter: MeterRequest?

    var mode: GuestMode { namedMode ?? .real16 }

    func validate() throws {
        guard (1...UInt64(JobSpec.maximumVCPUs)).contains(vcpus ?? 1) else {
            throw ValidationError("--vcpus takes 1 to \(JobSpec.maximumVCPUs).")
        }
        guard turn == nil || vcpus ?? 1 > 1 else {
            throw ValidationError("--turn is for several vCPUs: ask for them with --vcpus.")
        }
        guard turn != 0 else { throw ValidationError("--turn takes at least 1 step.") }
        do {
            let state = try ProcessorState(set, mode: mode)
            guard entry == nil || state.entryPoint == nil else {
                throw ValidationError("--entry and --set of the instruction pointer say the same: give one of them.")
            }
        } catch let error as ValueError {
            throw ValidationError("--set: \(error.description)")
        }
    }

    /// Where the guest starts, if any option says so.
    var namedEntry: UInt64? { entry ?? (try? ProcessorState(set, mode: mode))?.entryPoint }

    /// The job that these options describe, without a label.
    func spec(reportsPortWrites: Bool, hasInput: Bool) throws(ValueError) -> JobSpec {
        let state = try ProcessorState(set, mode: mode)
        var spec = JobSpec(
            mode: mode, loadAddress: load, entryPoint: entry ?? state.entryPoint, registers: state.registers,
            memoryBytes: namedMemory ?? JobSpec.defaultMemoryBytes, budget: budget,
            reportsPortWrites: reportsPortWrites, hasInput: hasInput)
        (spec.segments, spec.tables, spec.controls) = (state.segments, state.tables, state.controls)
        spec.meter = meter
        spec.board = namedBoard ?? .bare
        (spec.vcpus, spec.turn) = (Int(clamping: vcpus ?? 1), turn)
        return spec
    }

    private var budget: Budget {
        Budget(
            steps: steps, wallTime: wallTime, cpuTime: cpuTime, exits: exits, outputBytes: outputLimit,
            touchedBytes: touchedMemory)
    }
}

extension GuestMode {
    fileprivate static var names: [String] { imageModes.map(\.name) }

    /// The mode of an image that an argument names.
    init(argument: String) throws(ValueError) {
        guard argument != GuestMode.linux.name else {
            throw ValueError("programs for Linux are started by kvmjob run")
        }
        guard let mode = GuestMode(name: argument) else {
            throw ValueError("\"\(argument)\" is no mode: write \(Self.names.joined(separator: ", "))")
        }
        self = mode
    }
}

extension BoardKind {
    fileprivate static var names: [String] { allCases.map(\.name) }

    /// The board that an argument names.
    init(argument: String) throws(ValueError) {
        guard let board = Self.allCases.first(where: { $0.name == argument }) else {
            throw ValueError("\"\(argument)\" is no board: write \(Self.names.joined(separator: " or "))")
        }
        self = board
    }
}

extension MeterRequest {
    fileprivate static var names: [String] { allCases.map(\.name) }

    /// The way of counting that an argument names.
    init(argument: String) throws(ValueError) {
        guard let meter = Self.allCases.first(where: { $0.name == argument }) else {
            throw ValueError("\"\(argument)\" is no meter: write \(Self.names.joined(separator: ", "))")
        }
        self = meter
    }
}
