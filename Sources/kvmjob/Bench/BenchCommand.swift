// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Glibc
internal import JobModel
internal import KVMJobClient

/// `kvmjob bench`: how many jobs a worker does, and how long each takes.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Load a worker with one image, and measure.",
        discussion: """
            Keeps --window jobs in flight on each of --connections connections, and prints jobs per second and how long jobs \
            took from submission to result. Without an image a built-in one adds two numbers and prints the sum.

            --floor runs the same guest between slices of the load by bare system calls in C, as many threads as the worker has \
            slots, with the same reset between two jobs, and tells the worker's rate as a share of that. The share is \
            what the machine's own speed and its other work are not in.

            Exit status: 0 if every job ended as expected, which is: halted, or exited with 0, or as --expect says. Otherwise \
            as of submit: 1, 124 (a budget), 126 (refused), 125 (a fault of kvmjob or the host).

            Example: kvmjob bench --floor --duration 10s
            """)

    @Argument(help: ArgumentHelp("An image file; - is standard input.", valueName: "image"), completion: .file())
    var image: String?

    @OptionGroup(title: "Guest") var guest: GuestOptions
    @OptionGroup(title: "Queue") var queue: QueueOptions
    @OptionGroup(title: "Worker") var worker: WorkerOptions

    @Option(help: ArgumentHelp("Connections, each with a window of its own.", valueName: "count"))
    var connections = 2

    @Option(help: ArgumentHelp("Jobs in flight on each connection.", valueName: "count"))
    var window = 32

    @Option(
        help: ArgumentHelp("How long: 500ms, 5s, 1m. (default: 5s)", valueName: "duration"),
        transform: DurationText.parse)
    var duration: Duration?

    @Option(help: ArgumentHelp("How many jobs, instead of --duration.", valueName: "count"))
    var jobs: Int?

    @Option(
        help: ArgumentHelp("Load before anything is measured. (default: 500ms)", valueName: "duration"),
        transform: DurationText.parse)
    var warmup = Duration.milliseconds(500)

    @Option(
        help: ArgumentHelp(
            "How every job has to end, by the outcome's name. (default: halted, or exited with 0)", valueName: "outcome"
        ),
        completion: .list(Expectation.outcomes))
    var expect: String?

    @Flag(help: "Run the same guest by bare system calls in C too, in turns with the load, and tell the ratio.")
    var floor = false

    @Flag(help: "One JSON object on standard output, instead of text.")
    var json = false

    /// The most connections: 256.
    static let connectionLimit = 256
    /// The largest window: 65,536. A worker may take less.
    static let windowLimit = 65_536
    /// The most jobs: a thousand million.
    static let jobLimit = 1_000_000_000
    /// The longest load: an hour.
    static let longest = Duration.seconds(3600)

    func validate() throws {
        guard (1...Self.connectionLimit).contains(connections) else {
            throw ValidationError("--connections takes 1 to \(Self.connectionLimit).")
        }
        guard (1...Self.windowLimit).contains(window) else {
            throw ValidationError("--window takes 1 to \(Self.windowLimit).")
        }
        guard duration == nil || jobs == nil else { throw ValidationError("--duration and --jobs exclude each other.") }
        guard (1...Self.jobLimit).contains(jobs ?? 1) else {
            throw ValidationError("--jobs takes 1 to \(Self.jobLimit).")
        }
        guard (duration ?? .seconds(1)) > .zero, max(duration ?? .zero, warmup) <= Self.longest else {
            throw ValidationError("--duration takes more than nothing, and like --warmup at most an hour.")
        }
        guard expect.map(Expectation.outcomes.contains) ?? true else {
            throw ValidationError("--expect takes one of \(Expectation.outcomes.joined(separator: ", ")).")
        }
        guard image != nil || BuiltInGuest.fits(guest) else {
            throw ValidationError(
                "The built-in guest starts as it does: name an image for --mode, --load, --entry and --set.")
        }
        guard !floor || (guest.steps == nil && guest.meter == nil) else {
            throw ValidationError("--floor counts no steps: leave out --steps and --meter.")
        }
        guard !floor || guest.board == .bare else {
            throw ValidationError("--floor has no devices: leave out --board and --rom.")
        }
        guard !floor || !Expectation.exhaustions.contains(expect ?? "") else {
            throw ValidationError("--floor has no budgets: its guest has to end by itself, so --expect names none.")
        }
    }

    var amount: LoadAmount { jobs.map(LoadAmount.jobs) ?? .duration(duration ?? .seconds(5)) }

    /// The image as people call it.
    var imageName: String { image ?? BuiltInGuest.name }

    /// - Throws: ``CommandFailure`` for an image that cannot be read.
    func order() async throws -> LoadOrder {
        var spec = try guest.spec(reportsPortWrites: false, hasInput: false)
        spec.label = JobList.label("bench \(imageName)")
        queue.apply(to: &spec)
        guard let image else { return BuiltInGuest.order(spec, window: window, expecting: expect) }
        let bytes: [UInt8]
        do {
            bytes = try await ImageSource(argument: image).load(limit: ImageSource.byteLimit)
        } catch let rejection as Rejection {
            throw CommandFailure(message: rejection.message, status: ExitStatus.cannotRun)
        }
        return LoadOrder(
            spec: spec, image: Image(submitting: bytes), window: window, expectation: Expectation(outcome: expect))
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let report = try await report(console: console, on: try worker.choice)
            try await console.output.write(text(of: report))
            return report.status
        }
    }

    /// Measures; Ctrl-C ends it early.
    func report(console: Console, on choice: WorkerChoice) async throws -> BenchReport {
        let progress = BenchProgress(messages: isatty(STDERR_FILENO) == 1 ? console.messages : nil)
        let run = BenchRun(
            order: try await order(), connections: connections, amount: amount, warmup: warmup, measuresFloor: floor,
            progress: progress)
        let work = Task { try await run.run(on: choice) }
        let interrupts = Interrupts(first: work.cancel)
        defer { withExtendedLifetime(interrupts) {} }
        return try await work.value
    }

    func text(of report: BenchReport) -> [UInt8] {
        let lines =
            json
            ? [String(decoding: BenchJSON(report: report, image: imageName).value.bytes, as: UTF8.self)]
            : BenchText(report: report, image: imageName).lines
        return Array(lines.map { $0 + "\n" }.joined().utf8)
    }
}

/// The guest of a load without an image: adds AL and BL, and prints the sum and a newline.
enum BuiltInGuest {
    static let name = "add"
    /// add al, bl; add al, '0'; mov dx, 0x3f8; out dx, al; mov al, '\n'; out dx, al; hlt
    static let image: [UInt8] = [0x00, 0xD8, 0x04, 0x30, 0xBA, 0xF8, 0x03, 0xEE, 0xB0, 0x0A, 0xEE, 0xF4]
    static let output = Array("4\n".utf8)

    /// Whether the options leave its start to it.
    static func fits(_ guest: GuestOptions) -> Bool {
        guest.mode == .real16 && guest.load == nil && guest.entry == nil && guest.set.isEmpty && !guest.rom
    }

    static func order(_ spec: JobSpec, window: Int, expecting outcome: String?) -> LoadOrder {
        var spec = spec
        (spec.registers[.rax], spec.registers[.rbx]) = (2, 2)
        let expectation = Expectation(outcome: outcome, output: outcome == nil ? output : nil)
        return LoadOrder(spec: spec, image: Image(image), window: window, expectation: expectation)
    }
}
