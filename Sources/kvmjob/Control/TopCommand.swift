// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Glibc
internal import JobModel
internal import KVMJobClient

/// `kvmjob top`: a worker at work, live.
struct TopCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "Watch a worker: its slots, users and jobs, once a second.",
        discussion: """
            SLOTS is how many slots a user's jobs have had on average in the last second. Jobs that run come first, the longest on top, \
            then those that wait. q or Ctrl-C leaves.

            Exit status: 0; 64 if standard input or output is no terminal; 125 if no worker answers, or when it leaves.
            """)

    @OptionGroup(title: "Worker") var worker: WorkerOptions

    /// How long a picture stays: 1 s.
    static let interval = Duration.seconds(1)
    /// The most pages of jobs that are asked for each time; what more there is, the count of waiting jobs tells.
    static let pageLimit = 4

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 else {
                throw CommandFailure(
                    message:
                        "top draws on a terminal, and this is none: kvmjob ps lists the jobs, kvmjob status the rest",
                    status: ExitStatus.usage)
            }
            let choice = try worker.choice
            do {
                try await choice.asking { client, place in
                    let watch = TopWatch(
                        client: client, place: place, names: TenantNames(for: choice), console: console)
                    try await watch.run()
                }
            } catch is CancellationError {
                // Ctrl-C is how one leaves.
            }
            return 0
        }
    }
}

/// Draws until somebody leaves.
struct TopWatch: Sendable {
    let client: JobClient
    let place: String
    let names: TenantNames
    let console: Console

    private enum Event { case tick, resized, quit }

    /// - Throws: ``OutputError``, `CancellationError`, and what asking throws.
    func run() async throws {
        let (events, wake) = AsyncStream.makeStream(of: Event.self, bufferingPolicy: .bufferingNewest(4))
        let terminal = try await LiveTerminal(console.output) { wake.yield(.resized) }
        let keys = Task { await Self.watchKeys { wake.yield(.quit) } }
        let clock = Task {
            while !Task.isCancelled {
                wake.yield(.tick)
                try await Task.sleep(for: TopCommand.interval)
            }
        }
        let end = await Result.catching { try await draw(events, on: terminal) }
        keys.cancel()
        clock.cancel()
        await terminal.end()
        try end.get()
    }

    private func draw(_ events: AsyncStream<Event>, on terminal: LiveTerminal) async throws {
        var (before, last): (TopSample?, TopSample?)
        for await event in events {
            switch event {
            case .quit: return
            case .tick: (before, last) = (last, try await sample())
            case .resized: break
            }
            guard let last, let window = TerminalWindow.standardOutput else { continue }
            let screen = TopScreen(place: place, names: names, window: window, sample: last, before: before)
            try await terminal.show(screen.lines)
        }
        try Task.checkCancellation()
    }

    private func sample() async throws -> TopSample {
        let (worker, tenants) = (try await client.workerReport(), try await client.tenants())
        var jobs: [ListedJob] = []
        for _ in 0..<TopCommand.pageLimit {
            guard case .jobs(let page, let more) = try await client.query(.jobs(after: jobs.last?.id)) else { break }
            jobs += page
            guard more else { break }
        }
        return TopSample(instant: .now, worker: worker, tenants: tenants, jobs: jobs)
    }

    /// Also the end of input leaves.
    private static func watchKeys(_ quit: () -> Void) async {
        guard let source = try? ByteSource(path: "-") else { return quit() }
        while let keys = try? await source.next(), !keys.contains(where: { "qQ\u{4}".utf8.contains($0) }) {}
        quit()
    }
}
