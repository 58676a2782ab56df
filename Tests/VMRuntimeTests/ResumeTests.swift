// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import Foundation
import GuestImage
import JobModel
import KVM
import Testing

@testable import VMRuntime

/// A whole job with its pauses, and what it leaves behind, guest memory included.
private struct Stretches {
    var result: JobResult
    var pauses: [Pause] = []
    var console: [UInt8] = []
    var memory: Data
    /// The step budget that was in force at the end.
    var limit: UInt64

    /// Runs an image up to its budget, pausing it on the way after each of these numbers of steps.
    ///
    /// - Parameter atPause: called with the number of pauses so far, before the job goes on.
    static func of(
        _ image: [UInt8], _ spec: JobSpec, pausing stops: [UInt64] = [], input: [UInt8] = [], inputEnds: Bool = true,
        atPause: @escaping @Sendable (Int, JobControl) -> Void = { _, _ in }
    ) async throws -> Stretches {
        let backend = try Hardware.backend.get()
        return try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "test.stretches").async {
                continuation.resume(
                    with: Result {
                        let control = JobControl(hasInput: true)
                        control.grantOutput(1 << 30)
                        control.appendInput(input, end: inputEnds)
                        return try Stretches(image, spec, stops, control, backend, atPause)
                    })
            }
        }
    }

    private init(
        _ image: [UInt8], _ spec: JobSpec, _ stops: [UInt64], _ control: JobControl, _ backend: Backend,
        _ atPause: (Int, JobControl) -> Void
    ) throws {
        var spec = spec
        spec.memoryBytes = 4 << 20
        let total = try #require(spec.budget.steps)
        var limits = stops.filter { $0 < total } + [total]
        spec.budget.steps = limits.removeFirst()
        let plan = backend.profile.plan(for: spec)
        let machine = try Machine(
            readyFor: GuestLayout(flat: image, spec: spec), on: backend,
            countsEmulation: plan.countsEmulation(on: backend.profile), logsWrites: plan.logsWrites)
        let console = Console()
        let thread = try VCPUThread()
        let execution = Execution(
            machine, budget: spec.budget, reportsPortWrites: false, plan: plan, pauses: true, control: control,
            thread: thread, backend: backend.profile,
            emit: { if case .output(.console, let bytes) = $0 { console.bytes += bytes } })
        var departure = execution.run()
        var last = try #require(spec.budget.steps)
        while case .paused(let pause) = departure, !limits.isEmpty {
            pauses.append(pause)
            atPause(pauses.count, control)
            let next = limits.removeFirst()
            // Each stretch on a thread state of its own, as on another slot.
            departure = execution.resume(steps: next - last, on: try VCPUThread())
            last = next
        }
        switch departure {
        case .ended(let result): self.result = result
        case .paused: result = execution.endPaused()
        }
        self.console = console.bytes
        limit = last
        memory = Data(machine.vm.memory.read(at: 0, count: Int(machine.vm.memory.bytes)) ?? [])
    }

    private final class Console {
        var bytes: [UInt8] = []
    }
}

/// Checks that two runs of a job differ in nothing but time.
private func expectSame(_ some: Stretches, _ whole: Stretches, _ comment: Comment) {
    #expect(some.result.outcome == whole.result.outcome, comment)
    #expect(some.result.steps == whole.result.steps, comment)
    // A guest whose last instructions retire together, the pause's place between them, ends beyond it.
    let isBeyond = some.result.steps ?? 0 > some.limit
    #expect(isBeyond || some.result.meter == whole.result.meter, comment)
    #expect(some.result.registers == whole.result.registers, comment)
    #expect(some.result.system == whole.result.system, comment)
    #expect(some.result.outputBytes == whole.result.outputBytes, comment)
    #expect(some.result.unclaimedPortWrites == whole.result.unclaimedPortWrites, comment)
    #expect(some.result.droppedMemoryWrites == whole.result.droppedMemoryWrites, comment)
    #expect(some.result.exits.io == whole.result.exits.io, comment)
    #expect(some.result.exits.mmio == whole.result.exits.mmio, comment)
    #expect(some.console == whole.console, comment)
    #expect(some.memory == whole.memory, comment)
}

@Suite("A paused job goes on as if it had not been", .enabled(if: Hardware.isThere, "no usable /dev/kvm"), .serialized)
struct ResumeTests {
    /// Few enough steps to try each of them as the place of a pause.
    static let short = GuestProgram.counted.filter { ($0.steps ?? .max) <= 16 && !$0.readsTime }
    /// The others, but for those that would take minutes.
    static let medium = GuestProgram.counted.filter { ($0.steps ?? .max) <= 4000 && !$0.readsTime }

    @Test("Wherever it is paused", arguments: short)
    func anywhere(_ guest: GuestProgram) async throws {
        let steps = try #require(guest.steps)
        // One more, for guests that are ended by what comes behind their last step.
        let spec = guest.spec(Budget(steps: steps + 1))
        let whole = try await Stretches.of(guest.image, spec)
        #expect(whole.result.outcome.end == guest.end)
        for stop in 1...max(1, steps) {
            let paused = try await Stretches.of(guest.image, spec, pausing: [stop])
            expectSame(paused, whole, "paused after \(stop) steps")
        }
    }

    @Test("Even after each step", arguments: medium)
    func everywhere(_ guest: GuestProgram) async throws {
        let steps = try #require(guest.steps)
        let spec = guest.spec(Budget(steps: steps + 1))
        let whole = try await Stretches.of(guest.image, spec)
        let paused = try await Stretches.of(guest.image, spec, pausing: Array(1...max(1, steps)))
        expectSame(paused, whole, "paused after each step")
        #expect(paused.pauses.map(\.steps) == paused.pauses.map(\.steps).sorted())
    }

    @Test("However its steps are counted", arguments: ["primes", "primes-user", "mode-switch"])
    func meters(name: String) async throws {
        let guest = try GuestProgram.named(name)
        var spec = guest.spec(Budget(steps: 200_000))
        spec.meter = .stepped
        let whole = try await Stretches.of(guest.image, spec)
        spec.meter = nil
        for distance in [50_000, 7001] as [UInt64] {
            let stops = Array(stride(from: distance, to: 200_000, by: UInt64.Stride(distance)))
            let paused = try await Stretches.of(guest.image, spec, pausing: stops)
            expectSame(paused, whole, "paused every \(distance) steps")
        }
    }

    @Test("A pause tells what a job that ends there tells", arguments: short)
    func tells(_ guest: GuestProgram) async throws {
        for stop in 1..<max(2, try #require(guest.steps)) {
            let ended = try await Run.of(guest.image, guest.spec(Budget(steps: stop))).result
            var spec = guest.spec(Budget(steps: stop + 1))
            spec.memoryBytes = JobSpec.defaultMemoryBytes
            guard let pause = try await Self.firstPause(guest.image, spec, after: stop) else { continue }
            #expect(pause.steps == ended.steps)
            #expect(pause.registers == ended.registers, "after \(stop) steps")
            #expect(pause.system == ended.system, "after \(stop) steps")
        }
    }

    private static func firstPause(_ image: [UInt8], _ spec: JobSpec, after stop: UInt64) async throws -> Pause? {
        var spec = spec
        (spec.budget.steps, spec.pausesWhenStepsRunOut) = (stop, true)
        let backend = try Hardware.backend.get()
        let control = JobControl(hasInput: false)
        control.grantOutput(1 << 20)
        let (events, yield) = AsyncStream<JobEvent>.makeStream()
        let slot = Slot(number: 0, backend: backend)
        defer { slot.stop() }
        slot.start(try AdmittedJob(image: image, spec: spec, on: backend.profile), control: control) { yield.yield($0) }
        var pause: Pause?
        for await event in events {
            if case .paused(let here) = event {
                pause = here
                control.endPaused()
            }
            if case .finished = event { break }
        }
        return pause
    }

    @Test("With a trap flag of its own", arguments: 1...12 as ClosedRange<UInt64>)
    func trapFlag(stop: UInt64) async throws {
        let guest = try GuestProgram.named("user64-trap-flag")
        let spec = guest.spec(Budget(steps: 1000))
        let whole = try await Stretches.of(guest.image, spec)
        #expect(whole.result.outcome.end == guest.end)
        expectSame(try await Stretches.of(guest.image, spec, pausing: [stop]), whole, "paused after \(stop) steps")
    }

    /// Accesses, repeated strings and merged instructions, all in a row.
    static let edges = [
        StepEdgeTests.Case(
            name: "IN and OUT of every width", code: "ba8000 ec ed 66ed ee ef 66ef b041 e6e9 f4", mode: .real16,
            steps: nil),
        StepEdgeTests.Case(name: "MOV SS in a row", code: "8cd0 8ed0 8ed0 90 8ed0 90 f4", mode: .real16, steps: nil),
        StepEdgeTests.Case(
            name: "MMIO", code: "b8000000f0 8b08 8918 0fb608 8808 f4", mode: .protected32, steps: nil),
        StepEdgeTests.Case(
            name: "REP MOVSB and REP OUTSB", code: "be0010 bf0020 b92000 f3a4 be0010 b90800 bae900 f36e f4",
            mode: .real16, steps: nil),
        StepEdgeTests.Case(
            name: "PUSHF, POPF and SYSCALL of a program", code: "9c 59 51 9d e480 e680 8cd0 8ed0 9c 5b 0f05",
            steps: nil),
        StepEdgeTests.Case(
            name: "REP STOSB of a program", code: "bf00001800 b940000000 f3aa b007 e6f4", steps: nil),
    ]

    @Test("At accesses, strings and merged instructions", arguments: edges)
    func edge(_ example: StepEdgeTests.Case) async throws {
        let image = hex(example.code)
        let spec = JobSpec(mode: example.mode, budget: Budget(steps: 100))
        let whole = try await Stretches.of(image, spec)
        let steps = try #require(whole.result.steps)
        for stop in 1...max(1, steps) {
            let paused = try await Stretches.of(image, spec, pausing: [stop])
            expectSame(paused, whole, "paused after \(stop) steps")
        }
        let paused = try await Stretches.of(image, spec, pausing: Array(1...max(1, steps)))
        expectSame(paused, whole, "paused after each step")
    }

    @Test("With half of its input read, the rest coming while it is paused")
    func input() async throws {
        let guest = try GuestProgram.named("reverse-line")
        let spec = guest.spec(Budget(steps: StepExactnessTests.plenty))
        let line = Array("straw\n".utf8)
        let whole = try await Stretches.of(guest.image, spec, input: line)
        #expect(whole.console == Array("warts\n".utf8))
        for stop in stride(from: UInt64(1), to: try #require(whole.result.steps), by: 3) {
            let paused = try await Stretches.of(guest.image, spec, pausing: [stop], input: line)
            expectSame(paused, whole, "paused after \(stop) steps")
        }
        // What comes late makes the guest wait in its loop, so only what it does with it is the same.
        let late = try await Stretches.of(
            guest.image, spec, pausing: [20], input: Array(line.prefix(3)), inputEnds: false
        ) { _, control in control.appendInput(Array(line.dropFirst(3)), end: true) }
        #expect(late.console == whole.console)
        #expect(late.pauses.count == 1)
    }

    @Test("The time that it stands still is not its wall time")
    func wallTime() async throws {
        // jmp $
        let spec = JobSpec(budget: Budget(steps: 200, wallTime: .milliseconds(400)))
        let standing = try await Stretches.of(hex("eb fe"), spec, pausing: [100]) { _, _ in usleep(500_000) }
        #expect(standing.result.outcome == .exhausted(.steps, limit: 200, used: 200))
        #expect(standing.result.wallNanoseconds < 400_000_000)
    }

    @Test("Its wall time goes on behind a pause")
    func deadline() async throws {
        let spec = JobSpec(budget: Budget(steps: 1 << 50, wallTime: .milliseconds(50)))
        let spent = try await Stretches.of(hex("eb fe"), spec, pausing: [100, 200])
        #expect(spent.result.outcome.name == "wall-time-exhausted")
        #expect(spent.pauses.count == 2)
    }

    @Test("Steps beyond all numbers are as many as there are numbers")
    func saturation() async throws {
        let run = try await PausedRun(hex("b9 64 00 e2 fe f4"), steps: 10)
        #expect(try await run.next().pause?.steps == 10)
        run.slot.resume(run.control, steps: .max)
        let result = try #require(try await run.next().result)
        #expect(result.outcome == .halted)
        #expect(result.steps == 102)
        run.slot.stop()
    }
}

/// A job on a slot that pauses it, and the events that matter.
private final class PausedRun {
    enum Event {
        case paused(Pause)
        case finished(JobResult)

        var pause: Pause? { if case .paused(let pause) = self { pause } else { nil } }
        var result: JobResult? { if case .finished(let result) = self { result } else { nil } }
    }

    let slot: Slot
    let control = JobControl(hasInput: false)
    private var events: AsyncStream<Event>.AsyncIterator

    init(_ image: [UInt8], steps: UInt64, credit: Int = 1 << 20, wallTime: Duration = .seconds(10)) async throws {
        let backend = try Hardware.backend.get()
        slot = Slot(number: 0, backend: backend)
        var spec = JobSpec(budget: Budget(steps: steps, wallTime: wallTime))
        spec.pausesWhenStepsRunOut = true
        control.grantOutput(credit)
        let (stream, yield) = AsyncStream<Event>.makeStream()
        events = stream.makeAsyncIterator()
        slot.start(try AdmittedJob(image: image, spec: spec, on: backend.profile), control: control) { event in
            switch event {
            case .paused(let pause): yield.yield(.paused(pause))
            case .finished(let result): yield.yield(.finished(result))
            case .started, .output, .inputConsumed: break
            }
        }
    }

    func next() async throws -> Event { try #require(await events.next()) }
}

@Suite("A paused job has no thread", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct PausedJobTests {
    /// dec cx; jnz; hlt, from CX = 100
    private let loop = hex("b9 64 00 e2 fe f4")

    @Test("It goes on in another slot")
    func otherSlot() async throws {
        let run = try await PausedRun(loop, steps: 10)
        let other = Slot(number: 1, backend: try Hardware.backend.get())
        for turn in 1...5 {
            #expect(try await run.next().pause?.steps == UInt64(turn) * 10)
            (turn.isMultiple(of: 2) ? run.slot : other).resume(run.control, steps: turn == 5 ? 1000 : 10)
        }
        let result = try #require(try await run.next().result)
        #expect(result.outcome == .halted)
        #expect(result.steps == 102)
        #expect(result.registers?.rcx == 0)
        run.slot.stop()
        other.stop()
    }

    @Test("Its slot runs another job meanwhile")
    func slotIsFree() async throws {
        let run = try await PausedRun(loop, steps: 10)
        #expect(try await run.next().pause != nil)
        let other = try await Run.of(hex("b0 34 e6 e9 f4"), JobSpec(), slot: run.slot)
        #expect(other.text == "4")
        run.slot.resume(run.control, steps: 1000)
        #expect(try await run.next().result?.steps == 102)
        run.slot.stop()
    }

    @Test("Given up, it ends with all its figures; cancelled, it says so", arguments: [nil, .client] as [Canceller?])
    func end(canceller: Canceller?) async throws {
        let run = try await PausedRun(loop, steps: 10)
        let pause = try #require(try await run.next().pause)
        if let canceller { run.control.cancel(canceller) }
        run.control.endPaused()
        let result = try #require(try await run.next().result)
        #expect(
            result.outcome == canceller.map { .cancelled(by: $0) } ?? .exhausted(.steps, limit: 10, used: 10))
        #expect(result.steps == 10)
        #expect(result.meter == .exact)
        #expect(result.registers != nil && result.registers == pause.registers)
        #expect(result.system != nil && result.system == pause.system)
        // There is nothing left to end or to go on with.
        run.control.endPaused()
        run.slot.resume(run.control, steps: 5)
        run.slot.stop()
    }

    @Test("It is paused only when its output is sent; without credit its wall time runs")
    func unsentOutput() async throws {
        // mov cx, 100; again: out 0xe9, al; loop again; hlt
        let run = try await PausedRun(
            hex("b9 64 00 e6 e9 e2 fc f4"), steps: 50, credit: 3, wallTime: .milliseconds(100))
        let result = try #require(try await run.next().result)
        #expect(result.outcome.name == "wall-time-exhausted")
        #expect(result.steps == 50)
        run.slot.stop()
    }
}
