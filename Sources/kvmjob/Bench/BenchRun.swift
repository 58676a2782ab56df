// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import BareLoop
internal import GuestImage
internal import JobModel
internal import JobProtocol
internal import NIOCore

/// One `kvmjob bench`: warms up, loads the worker, and between the slices of the load measures the floor.
struct BenchRun: Sendable {
    /// Slices of a load that is held against a floor; on either side of each is a slice of the floor.
    static let slices = 10
    /// How long a slice of the floor takes, as a share of the load's; at least ``shortestFloorSlice``.
    static let floorShare = 2
    static let shortestFloorSlice = Duration.milliseconds(50)
    static let longestFloorSlice = Duration.seconds(2)

    let order: LoadOrder
    let connections: Int
    let amount: LoadAmount
    let warmup: Duration
    let measuresFloor: Bool
    let progress: BenchProgress

    /// Ctrl-C, by cancelling the task, ends the load early; what was measured by then is the report.
    ///
    /// - Throws: ``CommandFailure``.
    func run(on choice: WorkerChoice) async throws -> BenchReport {
        let load = try await LoadConnections.open(connections, to: choice, order)
        let report = await Result.catching { try await measure(load, choice) }
        await progress.finish()
        await load.close()
        return try report.get()
    }

    private func measure(_ load: LoadConnections, _ choice: WorkerChoice) async throws -> BenchReport {
        let limit = load.terms.jobLimit
        guard order.window <= limit else {
            throw CommandFailure(
                message: "--window \(order.window): this worker takes \(limit) jobs of one connection at once",
                status: ExitStatus.cannotRun)
        }
        var report = BenchReport(
            choice: choice, software: load.terms.software, slots: Int(load.terms.slots), connections: connections,
            order: order)
        // One job alone: whether the worker takes it, and how it ends.
        report.warmup = try await load.run(.jobs(1))
        guard let first = report.warmup.first else { throw CancellationError() }
        guard report.warmup.unexpected == 0 else { return report }
        let floor = measuresFloor ? try await Floor(order, threads: floorThreads(load.terms), like: first) : nil
        report.floorThreads = floor?.threads
        report.warmup.add(try await load.run(.duration(warmup)))
        let parts = amount.parts(floor == nil ? 1 : Self.slices)
        var before = try await floor?.rate(for: floorSlice)
        for part in parts where !Task.isCancelled {
            let slice = try await timed(part, load)
            let after = try await floor?.rate(for: floorSlice)
            report.add(slice, floorRates: [before, after].compactMap(\.self))
            before = after
        }
        return report
    }

    private func floorThreads(_ terms: WorkerTerms) -> Int { terms.slots > 0 ? Int(terms.slots) : connections }

    private var floorSlice: Duration {
        guard case .duration(let duration) = amount else { return Self.shortestFloorSlice * 4 }
        return min(Self.longestFloorSlice, max(Self.shortestFloorSlice, duration / Self.slices / Self.floorShare))
    }

    private func timed(_ part: LoadAmount, _ load: LoadConnections) async throws -> BenchSlice {
        let begun = NIODeadline.now()
        let ticker = progress.follow(load)
        defer { ticker?.cancel() }
        let tally = try await load.run(part)
        return BenchSlice(tally: tally, nanoseconds: UInt64(max(1, (NIODeadline.now() - begun).nanoseconds)))
    }
}

/// The same guest by bare system calls, on as many threads as the worker has slots.
struct Floor: Sendable {
    private let loops: [BareLoop]
    var threads: Int { loops.count }

    /// Makes the machines, and checks that the guest ends in them as its job did.
    ///
    /// - Throws: ``CommandFailure`` where it does not, or cannot run so.
    init(_ order: LoadOrder, threads: Int, like result: JobResult) async throws {
        do {
            let layout = try GuestLayout(flat: order.image.bytes, spec: order.spec)
            loops = try (0..<threads).map { _ in try BareLoop(layout) }
            for loop in loops { try Self.check(try await loop.run(for: .zero).end, like: result) }
        } catch let error as BareLoopError {
            throw CommandFailure(message: "--floor: \(error.description)", status: ExitStatus.cannotRun)
        } catch let refusal as Refusal {
            throw CommandFailure(message: "--floor: \(refusal.message)", status: ExitStatus.cannotRun)
        }
    }

    /// Jobs per second of all threads together.
    func rate(for duration: Duration) async throws -> Double {
        try await withThrowingTaskGroup(of: Double.self) { group in
            for loop in loops { group.addTask { try await loop.run(for: duration).rate } }
            return try await group.reduce(0, +)
        }
    }

    private static func check(_ end: BareLoop.End, like result: JobResult) throws(CommandFailure) {
        let outcome = end.exitCode.map { Outcome.exited(code: $0) } ?? .halted
        guard outcome == result.outcome, end.outputBytes == result.outputBytes else {
            throw CommandFailure(
                message: """
                    --floor: the guest ended as \(outcome.name) after \(end.outputBytes) bytes of output, and in the worker as \
                    \(result.outcome.name) after \(result.outputBytes): the two cannot be compared
                    """, status: ExitStatus.cannotRun)
        }
    }
}
