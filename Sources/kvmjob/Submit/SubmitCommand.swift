// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Glibc
internal import JobModel

/// `kvmjob submit`: runs images and waits for them.
struct SubmitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "submit",
        abstract: "Run images and wait for their end.",
        discussion: """
            What a guest writes to COM1 (port 0x3f8) or to port 0xe9 comes out of standard output, unchanged; with several \
            jobs line by line behind the job's name. How each job ended is told on standard error. Ctrl-C stops the jobs.

            Exit status: of one job that exited, the low 8 bits of its code; 0 if every job halted or exited with 0; \
            124 if a budget ended one; 126 if an image could not be read or was refused; 125 for a fault of kvmjob or \
            the host; else 1. Of several jobs the worst: 125, 126, 124, 1, 0.

            Example: kvmjob submit --hex "00 d8 04 30 ba f8 03 ee b0 0a ee f4" --set ax=2 --set bx=2
            """)

    @Argument(help: ArgumentHelp("Image files; - is standard input.", valueName: "image"), completion: .file())
    var images: [String] = []

    @Option(help: ArgumentHelp("An image written as hexadecimal bytes (repeatable).", valueName: "bytes"))
    var hex: [String] = []

    @Option(
        help: ArgumentHelp(
            "Start from a snapshot in place of an image: the name that kvmjob snapshot printed.", valueName: "name"),
        transform: SnapshotNameText.parse)
    var from: ContentDigest?

    @OptionGroup(title: "Guest") var image: ImageOptions
    @OptionGroup(title: "Guest") var guest: GuestOptions
    @OptionGroup(title: "Guest") var memory: MemoryOptions
    @OptionGroup(title: "Inspection") var inspection: InspectionOptions
    @OptionGroup(title: "Queue") var queue: QueueOptions
    @OptionGroup(title: "Queue") var detaching: DetachOptions
    @OptionGroup(title: "Worker") var worker: WorkerOptions

    @Option(
        help: ArgumentHelp("What the guest reads from COM1; - is standard input.", valueName: "file"),
        completion: .file())
    var stdin: String?

    @Option(
        help: ArgumentHelp(
            """
            What becomes of a job that has used up its --steps: end or pause. Paused, it tells where it stands and reads a \
            line from standard input: how many steps more, nothing for as many as at first, or q to give up.
            """, valueName: "action"))
    var onExhausted = ExhaustionAction.end

    @Option(name: .customLong("repeat"), help: ArgumentHelp("Run each image this often.", valueName: "count"))
    var repeats = 1

    @Flag(help: "One JSON object per job on standard output, instead of the guest's output.")
    var json = false

    @Flag(help: "Show the guest's writes to ports that no device claims.")
    var portWrites = false

    @Flag(
        help: ArgumentHelp(
            "Keep from the guest what differs between runs, and tell a digest of what it did.",
            discussion: "With --json the report holds the job, for kvmjob replay. Input is at most 64 KiB."))
    var deterministic = false

    @Flag(help: "Tell a digest of what the guest did: outcome, steps, registers, output and memory.")
    var digest = false

    func validate() throws {
        try validateStart()
        guard (1...JobList.repeatLimit).contains(repeats) else {
            throw ValidationError("--repeat takes 1 to \(JobList.repeatLimit).")
        }
        let readers = images.filter { $0 == "-" }.count + (stdin == "-" ? 1 : 0)
        guard readers <= 1 else {
            throw ValidationError("Standard input can be read once: as one image, or with --stdin.")
        }
        guard stdin != "-" || jobs.isSingle else {
            throw ValidationError("Standard input can feed one job only; give several jobs a file.")
        }
        try inspection.validate(jobs)
        try validateDetaching()
        try validatePauses(readsInput: readers > 0)
    }

    private func validateStart() throws {
        guard from == nil else { return try validateFrom() }
        let hasImage = !images.isEmpty || !hex.isEmpty
        guard hasImage || !memory.pieces.isEmpty else {
            throw ValidationError("Name an image file, or write machine code with --hex.")
        }
        try memory.check(hasImage: hasImage, guest)
        guard hasImage || image.firstGiven == nil else {
            throw ValidationError("\(image.firstGiven ?? "") is for an image, and there is none.")
        }
    }

    private func validateFrom() throws {
        guard images.isEmpty, hex.isEmpty else {
            throw ValidationError("--from takes the place of an image: give one or the other.")
        }
        let decided = [
            (image.firstGiven != nil, image.firstGiven ?? ""),
            (guest.namedMode != nil, "--mode"), (guest.load != nil, "--load"), (guest.entry != nil, "--entry"),
            (!guest.set.isEmpty, "--set"), (!memory.pieces.isEmpty, "--memory-at"),
            (deterministic, "--deterministic"), (guest.namedBoard != nil, "--board"),
            (guest.vcpus != nil, "--vcpus"), (guest.turn != nil, "--turn"),
            (guest.namedMemory != nil && inspection.core == nil, "--memory"),
        ]
        if let (_, option) = decided.first(where: \.0) {
            throw ValidationError("\(option) goes with kvmjob snapshot: --from starts from what was decided there.")
        }
        guard inspection.core == nil || guest.namedMemory != nil else {
            throw ValidationError(
                "--core of a job --from a snapshot needs --memory: how much of its memory the core is to hold.")
        }
    }

    private func validateDetaching() throws {
        guard detaching.detach else { return }
        let excluded = [
            (from != nil, "--from"), (onExhausted == .pause, "--on-exhausted pause"), (inspection.trace, "--trace"),
            (!inspection.dump.isEmpty, "--dump"), (inspection.screen, "--screen"), (inspection.core != nil, "--core"),
        ]
        if let (_, option) = excluded.first(where: \.0) {
            throw ValidationError("\(option) and --detach exclude each other: nobody need be there to see it.")
        }
        guard detaching.key == nil || jobs.isSingle else {
            throw ValidationError("--key takes one job only: a key means one job, however often it is submitted.")
        }
    }

    private func validatePauses(readsInput: Bool) throws {
        guard onExhausted == .pause else { return }
        guard guest.steps != nil else {
            throw ValidationError("--on-exhausted pause needs --steps: without a budget no steps are used up.")
        }
        guard jobs.isSingle else { throw ValidationError("--on-exhausted pause takes one job only.") }
        guard !deterministic else {
            throw ValidationError("--on-exhausted pause and --deterministic exclude each other: a replay asks nobody.")
        }
        guard !readsInput else {
            throw ValidationError("Standard input answers pauses; give the image and the guest's input as files.")
        }
    }

    var jobs: JobList {
        from.map { JobList(from: $0, repeats: repeats) } ?? JobList(files: images, snippets: hex, repeats: repeats)
    }

    var presentation: Presentation {
        Presentation(
            style: json ? .collected : jobs.isSingle ? .raw : .prefixed, showsRegisters: inspection.registers,
            inspection: inspection.inspection, listsPortWrites: portWrites, stepBudget: guest.steps)
    }

    /// What the jobs have in common, without a label.
    var spec: JobSpec {
        get throws(ValueError) {
            var spec = try guest.spec(reportsPortWrites: portWrites, hasInput: stdin != nil)
            inspection.apply(to: &spec, json: json)
            queue.apply(to: &spec)
            spec.isDeterministic = deterministic
            if deterministic || digest { spec.report.insert(.digest) }
            spec.pausesWhenStepsRunOut = onExhausted == .pause
            return spec
        }
    }

    func submission(console: Console) throws(ValueError) -> Submission {
        var submission = Submission(
            jobs: jobs, spec: try spec, memory: memory.pieces, input: stdin, presentation: presentation,
            console: console)
        submission.start = ImageStart(image, guest, wantsCore: inspection.core != nil)
        if onExhausted == .pause {
            submission.answers = AnswerSource(path: "-", isTerminal: isatty(STDIN_FILENO) == 1)
        }
        return submission
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let submission = try self.submission(console: console)
            if detaching.detach {
                let handOver = HandOver(key: detaching.key, isJSON: json, console: console)
                return try await handOver.run(submission, on: try worker.choice.forDetaching())
            }
            return try await submission.run(on: from == nil ? try worker.choice : try worker.choice.forSnapshots())
        }
    }
}
