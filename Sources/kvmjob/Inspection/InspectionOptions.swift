// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import GuestImage
internal import JobModel

/// The options that say what is shown of a guest beyond its output and its verdict.
struct InspectionOptions: ParsableArguments {
    @Flag(help: "Show the end in full: registers, the code around RIP, the stack, the last exits.")
    var registers = false

    @Flag(help: "Show x87 and SSE state.")
    var fpu = false

    @Option(
        help: ArgumentHelp(
            "Show guest physical memory as it is at the end, as in 0x7c00:512 or 0:64KiB (repeatable).",
            valueName: "addr:len"),
        transform: MemoryRangeText.parse)
    var dump: [MemoryRange] = []

    @Flag(help: "Show the text screen as it is at the end: 80 by 25 characters from 0xb8000 on.")
    var screen = false

    @Option(
        help: ArgumentHelp("Write all of guest memory and the registers to an ELF core for gdb.", valueName: "file"),
        completion: .file())
    var core: String?

    @Flag(help: "Tell each instruction and each exit on standard error; with --json as lines on standard output.")
    var trace = false

    func validate() throws {
        guard core != "" else { throw ValidationError("--core needs the name of a file.") }
        guard windows.count + (core == nil ? 0 : 1) <= MemoryRange.dumpLimit else {
            let others = [(core != nil, "the core"), (screen, "the screen")].filter(\.0).map(\.1)
            let number = others.count == 1 ? "one" : "two"
            let counted = others.isEmpty ? "" : ", \(others.joined(separator: " and ")) being \(number) of them"
            throw ValidationError("--dump can be given \(MemoryRange.dumpLimit) times\(counted).")
        }
        // Each is at most the limit where the sum is looked at, and there are 64, so that it cannot overflow.
        guard windows.allSatisfy({ $0.count <= MemoryDump.byteLimit }),
            windows.reduce(0, { $0 + $1.count }) <= MemoryDump.byteLimit
        else {
            throw ValidationError(
                "--dump shows at most \(SizeText.describe(MemoryDump.byteLimit)) in all; --core writes all memory to a file."
            )
        }
    }

    /// - Throws: `ValidationError` for what one job alone can do.
    func validate(_ jobs: JobList) throws {
        guard core == nil || jobs.isSingle else { throw ValidationError("--core is for one job only.") }
    }

    /// What has to be asked of the worker to show this.
    func apply(to spec: inout JobSpec, json: Bool) {
        if registers || json { spec.report.formUnion([.exits, .code, .stack]) }
        if fpu { spec.report.insert(.fpu) }
        spec.dumps = windows
        if core != nil { spec.dumps.append(MemoryRange(address: 0, count: spec.memoryBytes)) }
        spec.isTraced = trace
    }

    /// The windows of memory that are asked for, but for the core's: the screen is the last.
    private var windows: [MemoryRange] { dump + (screen ? [TextScreen.window] : []) }

    /// How the answer is shown.
    var inspection: Inspection {
        var sections: PostMortemText.Sections = []
        if registers { sections.formUnion([.code, .stack, .exits]) }
        if fpu { sections.insert(.fpu) }
        return Inspection(sections: sections, dumps: windows, endsInScreen: screen, corePath: core)
    }
}

/// What is shown of a guest beyond its output and its verdict.
struct Inspection: Sendable {
    /// The parts of the post-mortem that follow the verdict.
    var sections: PostMortemText.Sections = []
    /// The windows of memory that were asked for, but for the core's.
    var dumps: [MemoryRange] = []
    /// Whether the last of them is the text screen.
    var endsInScreen = false
    /// Where the core goes.
    var corePath: String?
}

extension JobSpec {
    /// Where the guest's first instruction can be, by linear address, as far as that is known before the image is looked at.
    var possibleEntries: [UInt64] {
        if let known = entryPoint ?? loadAddress { return [known] }
        return switch mode {
        case .real16: [GuestLayout.realModeLoadAddress, GuestLayout.bootSectorLoadAddress]
        case .protected32, .long64, .user64, .linux: [GuestLayout.flatLoadAddress]
        }
    }
}
