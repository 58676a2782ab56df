// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel

/// The options that say what a program may use, and what of it is fixed.
struct ProgramLimits: ParsableArguments {
    @Option(
        help: ArgumentHelp("The most processor time: 5ms, 2s.", valueName: "duration"), transform: DurationText.parse)
    var cpuTime: Duration?

    @Option(
        help: ArgumentHelp(
            "The longest run: 300ms, 10s, 2m. (default: as long as the worker allows)", valueName: "duration"),
        transform: DurationText.parse)
    var wallTime: Duration?

    @Option(
        name: .customLong("memory"),
        help: ArgumentHelp(
            "The program's memory; beyond it, allocations fail as on Linux. (default: 256MiB)", valueName: "size"),
        transform: SizeText.parse)
    var memory: UInt64 = ProgramSpec.defaultMemoryBytes

    @Option(
        help: ArgumentHelp(
            "The most that the program may have written to files; they are gone when it ends. (default: 64MiB)",
            valueName: "size"),
        transform: SizeText.parse)
    var scratch: UInt64 = ProgramSpec.defaultScratchBytes

    @Option(
        help: ArgumentHelp("The most that it may write to standard output and error together.", valueName: "size"),
        transform: SizeText.parse)
    var outputLimit: UInt64?

    @Option(
        help: ArgumentHelp(
            "What its clocks show: real, the time that it is, or fixed, a time that is the same in each run.",
            valueName: "clock"),
        completion: .list(ProgramSpec.Clock.allCases.map(\.name)), transform: ProgramSpec.Clock.init(argument:))
    var clock = ProgramSpec.Clock.real

    @Option(
        help: ArgumentHelp(
            "What its random bytes are made from, a number: the same bytes in each run. (default: bytes that nobody can tell)",
            valueName: "number"),
        transform: WholeNumber.parse)
    var seed: UInt64?

    @OptionGroup var queue: QueueOptions

    /// What the job may use.
    ///
    /// - Parameter longest: the most wall time that the worker allows.
    func budget(longest: Duration) -> Budget {
        Budget(wallTime: wallTime ?? longest, cpuTime: cpuTime, outputBytes: outputLimit)
    }

    /// The job of this program.
    ///
    /// - Parameter longest: the most wall time that the worker allows.
    func spec(_ submission: ProgramSubmission, hasInput: Bool, longest: Duration) -> JobSpec {
        var program = ProgramSpec(
            path: Array(submission.program.utf8), arguments: submission.arguments.map { Array($0.utf8) },
            environment: submission.environment.map { Array($0.utf8) })
        (program.clock, program.seed, program.scratchBytes) = (clock, seed, scratch)
        var spec = JobSpec(
            label: JobList.label(submission.arguments.first ?? submission.program), mode: .linux, memoryBytes: memory,
            budget: budget(longest: longest),
            hasInput: hasInput)
        spec.program = program
        queue.apply(to: &spec)
        return spec
    }
}

extension ProgramSpec.Clock {
    /// The clock that an argument names.
    init(argument: String) throws(ValueError) {
        guard let clock = Self.allCases.first(where: { $0.name == argument }) else {
            throw ValueError("\"\(argument)\" is no clock: write real or fixed")
        }
        self = clock
    }
}
