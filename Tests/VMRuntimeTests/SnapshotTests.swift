// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

@Suite("A job from a snapshot goes on as if it had never stopped", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct SnapshotTests {
    /// Guests that make themselves ready, in each mode.
    static let guests = GuestProgram.all.filter { $0.name.hasPrefix("warm-") && $0.name != "warm-counter" }
    /// A byte and the square that the guests answer it with.
    static let input: [UInt8] = [3, 15, 16, 255]
    static let answer: [UInt8] = [9, 225, 0, 1]

    /// Ways of running a job, each on a kind of machine of its own.
    enum Way: String, CaseIterable, CustomTestStringConvertible {
        case free, gathered, counted, stepped, traced, touching, deterministic

        var testDescription: String { rawValue }

        /// Whether the guest's console bytes come without an exit each.
        var reusesMachine: Bool { self == .gathered }

        func apply(to spec: inout JobSpec) {
            switch self {
            case .free, .gathered: break
            case .counted: spec.meter = .exact
            case .stepped: spec.meter = .stepped
            case .traced: spec.isTraced = true
            case .touching: spec.budget.touchedBytes = 64 << 20
            case .deterministic: spec.isDeterministic = true
            }
        }
    }

    /// Whether a guest can be run so on this machine.
    static func canRun(_ guest: GuestProgram, _ way: Way) throws -> Bool {
        var spec = guest.spec()
        way.apply(to: &spec)
        return try Hardware.backend.get().profile.refusal(of: spec) == nil
    }

    @Test("It gives the answer, the registers and the digest of a cold run", arguments: guests, Way.allCases)
    func asCold(_ guest: GuestProgram, _ way: Way) async throws {
        guard try Self.canRun(guest, way) else { return }
        var spec = guest.spec()
        way.apply(to: &spec)
        spec.report = way == .gathered ? [.fpu, .code, .stack] : [.digest, .fpu, .code, .stack]
        let cold = try await Run.of(guest.image, spec, input: Self.input, reusesMachine: way.reusesMachine)
        #expect(cold.console.starts(with: Self.answer))
        #expect(try cold.result.outcome.end == guest.end)

        var taking = guest.spec()
        if way == .deterministic { taking.isDeterministic = true }
        let snapshot = try await SnapshotRun.taken(guest.image, taking, at: .ready)
        spec.isDeterministic = false
        let warm = try await Run.of(snapshot, spec, input: Self.input, reusesMachine: way.reusesMachine)
        #expect(warm.console == cold.console)
        let (hot, straight) = (try warm.result, try cold.result)
        #expect(hot.outcome == straight.outcome)
        #expect(hot.registers == straight.registers)
        #expect(hot.system == straight.system)
        #expect(hot.postMortem.fpu == straight.postMortem.fpu)
        #expect(hot.postMortem.code == straight.postMortem.code)
        // Steps are part of the digest, and a warm job has fewer of them.
        if straight.steps == nil { #expect(hot.digest == straight.digest) }
    }

    @Test("Steps count from zero, and both parts make the whole", arguments: guests)
    func steps(_ guest: GuestProgram) async throws {
        var spec = guest.spec()
        spec.meter = .exact
        let cold = try await Run.of(guest.image, spec, input: Self.input).result
        let first = try await SnapshotRun.of(guest.image, spec, at: .ready)
        let second = try await Run.of(try #require(first.snapshot), spec, input: Self.input).result
        #expect(second.registers == cold.registers)
        #expect(try #require(first.run.result.steps) + #require(second.steps) == cold.steps)
        spec.budget.steps = 10
        let short = try await Run.of(try #require(first.snapshot), spec, input: Self.input).result
        #expect(short.outcome == .exhausted(.steps, limit: 10, used: 10))
    }

    @Test("However the snapshot was taken, the machine that a job needs can start from it", arguments: Way.allCases)
    func everyKind(_ taking: Way) async throws {
        for guest in Self.guests where try Self.canRun(guest, taking) && taking != .traced {
            var spec = guest.spec()
            taking.apply(to: &spec)
            let snapshot = try await SnapshotRun.taken(guest.image, spec, at: .ready)
            for way in Way.allCases where way != .deterministic {
                var spec = JobSpec()
                way.apply(to: &spec)
                let run = try await Run.of(snapshot, spec, input: Self.input, reusesMachine: way.reusesMachine)
                #expect(run.console.starts(with: Self.answer), "\(guest.name), run \(way)")
                #expect(try run.result.outcome.end == guest.end, "\(guest.name), run \(way)")
            }
        }
    }

    @Test("Each job has a copy of its own, whatever the others write", .timeLimit(.minutes(1)))
    func copies() async throws {
        let backend = try Hardware.backend.get()
        let guest = try GuestProgram.named("warm-counter")
        let snapshot = try await SnapshotRun.taken(guest.image, guest.spec(), at: .ready)
        let slots = (0..<2).map { Slot(number: $0, backend: backend) }
        defer { slots.forEach { $0.stop() } }
        try await withThrowingTaskGroup(of: (UInt8, [UInt8]).self) { group in
            for number in UInt8(0)..<32 {
                let slot = slots[Int(number) % slots.count]
                group.addTask {
                    (number, try await Run.of(snapshot, JobSpec(), input: [number, 100], slot: slot).console)
                }
            }
            for try await (number, console) in group { #expect(console == [110 + number]) }
        }
        #expect(try await Run.of(snapshot).console == [10])
    }

    @Test("A deterministic snapshot's guest starts when all of its input is there")
    func inputFirst() async throws {
        guard try Hardware.backend.get().profile.determinism.obstacle == nil else { return }
        let guest = try GuestProgram.named("warm-counter")
        var spec = guest.spec()
        spec.isDeterministic = true
        let snapshot = try await SnapshotRun.taken(guest.image, spec, at: .ready)
        var counting = JobSpec()
        counting.meter = .exact
        let whole = try await Run.of(snapshot, counting, input: [1, 2, 3]).result
        let control = JobControl(hasInput: true)
        let job = try AdmittedJob(from: snapshot, spec: counting, on: Hardware.backend.get().profile)
        let slot = Slot(number: 0, backend: try Hardware.backend.get())
        defer { slot.stop() }
        let stream = AsyncStream<JobEvent> { continuation in
            slot.start(job, control: control) { event in
                continuation.yield(event)
                if case .finished = event { continuation.finish() }
            }
        }
        control.grantOutput(1 << 20)
        var run = Run()
        for await event in stream {
            run.events.append(event)
            // Byte by byte, and only now: a guest that ran would look for input in vain, and take steps for it.
            if event == .started { for byte in UInt8(1)...3 { control.appendInput([byte], end: byte == 3) } }
        }
        #expect(try run.result.steps == whole.steps)
        #expect(run.console == [16])
    }
}
