// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Glibc
internal import JobModel

/// `kvmjob snapshot`: runs an image up to a point and has the worker keep what it is there.
struct SnapshotCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot",
        abstract: "Run an image until it is ready, and keep it there for jobs to start from.",
        discussion: """
            The guest says that it is ready by a write to port 0xf5; or the point is named with --at-step or --at-address. The \
            worker keeps the machine as it is then, memory, registers and devices, for this user, until it needs the room or \
            leaves. The snapshot's name comes out of standard output; the guest's own output, and what became of it on a \
            terminal, out of standard error.

            Exit status: 0 if the snapshot was taken; 1 if the guest ended before its point; 124 if a budget ended it; 126 if the \
            image could not be read or was refused; 125 for a fault of kvmjob or the host, or where there is no service.

            Example: NAME=$(kvmjob snapshot server.bin --mode long64) && kvmjob submit --from $NAME --stdin request
            """)

    @Argument(help: ArgumentHelp("An image file; - is standard input.", valueName: "image"), completion: .file())
    var image: String?

    @Option(help: ArgumentHelp("The image written as hexadecimal bytes.", valueName: "bytes"))
    var hex: String?

    @Option(
        help: ArgumentHelp("Take it after this many steps, not when the guest is ready.", valueName: "count"),
        transform: WholeNumber.parse)
    var atStep: UInt64?

    @Option(
        help: ArgumentHelp(
            "Take it before the instruction at this linear address, the first time the guest gets there.",
            valueName: "address"),
        transform: WholeNumber.parse)
    var atAddress: UInt64?

    @OptionGroup(title: "Guest") var imageOptions: ImageOptions
    @OptionGroup(title: "Guest") var guest: GuestOptions
    @OptionGroup(title: "Guest") var memory: MemoryOptions
    @OptionGroup(title: "Worker") var worker: WorkerOptions

    @Flag(help: "One JSON object on standard output, instead of the name.")
    var json = false

    @Flag(help: "Keep from the guest what differs between runs; the jobs that start here are deterministic too.")
    var deterministic = false

    func validate() throws {
        guard image == nil || hex == nil else { throw ValidationError("Give one image: a file or --hex.") }
        let hasImage = image != nil || hex != nil
        guard hasImage || !memory.pieces.isEmpty else {
            throw ValidationError("Name an image file, or write machine code with --hex.")
        }
        try memory.check(hasImage: hasImage, guest)
        guard hasImage || imageOptions.firstGiven == nil else {
            throw ValidationError("\(imageOptions.firstGiven ?? "") is for an image, and there is none.")
        }
        guard atStep == nil || atAddress == nil else {
            throw ValidationError("--at-step and --at-address exclude each other: a snapshot has one point.")
        }
        guard atStep != 0 else {
            throw ValidationError("--at-step takes 1 or more: before the first step there is nothing to spare.")
        }
    }

    var point: SnapshotPoint { atStep.map { .steps($0) } ?? atAddress.map { .address($0) } ?? .ready }

    func submission(console: Console) throws(ValueError) -> Submission {
        var spec = try guest.spec(reportsPortWrites: false, hasInput: false)
        (spec.snapshot, spec.isDeterministic) = (point, deterministic)
        let presentation = Presentation(
            style: json ? .collected : .name(isTold: isatty(STDERR_FILENO) == 1), stepBudget: guest.steps)
        let jobs = JobList(files: image.map { [$0] } ?? [], snippets: hex.map { [$0] } ?? [], repeats: 1)
        return Submission(
            jobs: jobs, spec: spec, memory: memory.pieces, input: nil, presentation: presentation, console: console,
            start: ImageStart(imageOptions, guest))
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let submission = try self.submission(console: console)
            return try await submission.run(on: try worker.choice.forSnapshots())
        }
    }
}
