// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import GuestImage
import JobModel
import KVM
import Testing

@testable import VMRuntime

extension Hardware {
    fileprivate static var coalesces: Bool { (try? backend.get().profile.coalescesPortWrites) ?? false }
}

extension Run {
    /// All that the guest brought forth, neighbours of one channel put together.
    fileprivate var streams: [Stretch] {
        events.reduce(into: []) { stretches, event in
            guard case .output(let channel, let bytes) = event else { return }
            if stretches.last?.channel == channel {
                stretches[stretches.count - 1].bytes += bytes
            } else {
                stretches.append(Stretch(channel: channel, bytes: bytes))
            }
        }
    }

    fileprivate struct Stretch: Equatable {
        var channel: OutputChannel
        var bytes: [UInt8]
    }
}

/// Counts up from 0, byte by byte: what the counting guests print.
private func counting(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0) } }

/// Prints ``counting(_:)`` on the debug console, as many bytes as RCX says, and ends.
private func counter(_ mode: GuestMode) -> [UInt8] {
    // again: out 0xe9, al; add al, 1; dec ecx; jnz again
    let loop = hex(mode == .real16 ? "e6e9 0401 6649 75f8" : "e6e9 0401 ffc9 75f8")
    return loop + hex(mode == .user64 ? "e6f4" : "f4")
}

private let ends: [Outcome] = [.halted, .exited(code: 0)]

@Suite(.enabled(if: Hardware.coalesces, "no /dev/kvm that coalesces port writes"), .serialized)
struct ConsoleCoalescingTests {
    // MARK: The same bytes

    @Test(arguments: GuestMode.imageModes, 0..<8 as Range<UInt64>)
    func `guests that talk in every way bring forth the same with an exit per byte and without`(
        mode: GuestMode, seed: UInt64
    ) async throws {
        let guest = TalkingGuest(mode, seed: seed << 8 | UInt64(mode.rawValue), turns: 40)
        var spec = JobSpec(mode: mode)
        spec.reportsPortWrites = true
        let each = try await Run.of(guest.image, spec)
        let gathered = try await Run.of(guest.image, spec, reusesMachine: true)
        #expect(gathered.streams == each.streams)
        let (result, expected) = (try gathered.result, try each.result)
        #expect(result.outcome == expected.outcome)
        #expect(result.registers == expected.registers)
        #expect(result.unclaimedPortWrites == expected.unclaimedPortWrites)
        #expect(result.outputBytes == expected.outputBytes)
        #expect(result.exits.io < expected.exits.io, "or nothing was gathered")
    }

    @Test(arguments: GuestMode.imageModes)
    func `bytes without an exit each cost one exit in a ring's worth`(mode: GuestMode) async throws {
        let count = 10 * (CoalescedWrites.limit + 1)
        let spec = JobSpec(mode: mode, registers: [.rcx: UInt64(count)])
        let run = try await Run.of(counter(mode), spec, reusesMachine: true)
        #expect(run.console == counting(count))
        #expect(try ends.map(\.name).contains(run.result.outcome.name))
        let end: UInt64 = mode == .user64 ? 1 : 0
        // Fewer where a look came before the ring was full.
        #expect(try run.result.exits.io <= 10 + end)
    }

    // MARK: Every end

    /// A guest that says "AB" and then ends, and how it ends.
    struct End: Sendable, CustomTestStringConvertible {
        let name: String
        var mode = GuestMode.real16
        let code: String
        var budget = Budget()
        var testDescription: String { name }
    }

    // mov al, 'A'; out 0xe9, al; inc ax; mov dx, 0x3f8; out dx, al; and then the end.
    private static let lastWords16 = "b041 e6e9 40 baf803 ee"
    private static let lastWords64 = "b041 e6e9 ffc0 baf8030000 ee"
    static let everyEnd = [
        End(name: "halted", code: lastWords16 + "f4"),
        End(name: "exited", code: lastWords16 + "e6f4"),
        End(name: "faulted", mode: .user64, code: lastWords64 + "0f0b"),
        End(name: "exited", mode: .user64, code: lastWords64 + "e6f4"),
        // ud2 without a descriptor for its handler.
        End(name: "triple-fault", mode: .long64, code: lastWords64 + "0f0b"),
        End(name: "wall-time-exhausted", code: lastWords16 + "ebfe", budget: Budget(wallTime: .milliseconds(5))),
        End(
            name: "cpu-time-exhausted", mode: .user64, code: lastWords64 + "ebfe",
            budget: Budget(cpuTime: .milliseconds(2))),
        // mov edi, 0x200000; again: mov byte [rdi], 1; add edi, 4096; jmp again
        End(
            name: "memory-exhausted", mode: .user64, code: lastWords64 + "bf00002000 c60701 81c700100000 ebf5",
            budget: Budget(touchedBytes: 1 << 20)),
        // Two more bytes than there is room for: out 0xe9, al; out 0xe9, al; hlt
        End(name: "output-exhausted", code: lastWords16 + "e6e9 e6e9 f4", budget: Budget(outputBytes: 2)),
    ]

    @Test(arguments: everyEnd)
    func `a guest's last words arrive, however it ends`(_ end: End) async throws {
        let run = try await Run.of(
            hex(end.code), JobSpec(mode: end.mode, budget: end.budget), reusesMachine: true)
        #expect(try run.result.outcome.name == end.name)
        #expect(run.text == "AB")
        #expect(try run.result.outputBytes == 2)
    }

    @Test(arguments: GuestMode.imageModes)
    func `a slow talker is heard while it runs, without an exit`(mode: GuestMode) async throws {
        let backend = try Hardware.backend.get()
        // mov al, 'A'; out 0xe9, al; jmp $
        let job = try AdmittedJob(
            image: hex("b041 e6e9 ebfe"), spec: JobSpec(mode: mode, budget: Budget(wallTime: .milliseconds(500))),
            on: backend.profile, reusesMachine: true)
        #expect(2 * Execution.lookInterval <= 20_000_000)
        let control = JobControl(hasInput: false)
        control.grantOutput(100)
        let slot = Slot(number: 0, backend: backend)
        defer { slot.stop() }
        var run = Run()
        let events = AsyncStream<JobEvent> { continuation in
            slot.start(job, control: control) { event in
                // On the slot's thread, so that nothing else comes in between.
                if case .output = event { control.cancel(.client) }
                continuation.yield(event)
                if case .finished = event { continuation.finish() }
            }
        }
        for await event in events { run.events.append(event) }
        let result = try run.result
        #expect(result.outcome == .cancelled(by: .client))
        #expect(run.text == "A")
        #expect(result.exits.broughtAbout == 0)
        // A look each 10 ms, and the cancel. The first one finds the byte; more only if the host was busy elsewhere.
        #expect(result.exits.interrupted <= 4)
    }

    // MARK: Bounds

    @Test(arguments: [GuestMode.real16, .user64])
    func `the output budget is exact around the ring's size`(mode: GuestMode) async throws {
        let slot = Slot(number: 0, backend: try Hardware.backend.get())
        defer { slot.stop() }
        let ring = CoalescedWrites.limit + 1
        let count = 2 * ring + 4
        for limit in [0, 1, 2] + Array(ring - 4...ring + 4) + Array(2 * ring - 4...2 * ring + 4) {
            let spec = JobSpec(
                mode: mode, registers: [.rcx: UInt64(count)], budget: Budget(outputBytes: UInt64(limit)))
            let run = try await Run.of(counter(mode), spec, slot: slot, reusesMachine: true)
            #expect(run.console == counting(limit))
            let outcome = try run.result.outcome
            if limit < count {
                #expect(outcome == .exhausted(.output, limit: UInt64(limit), used: UInt64(limit)))
            } else {
                #expect(ends.map(\.name).contains(outcome.name))
            }
        }
    }

    @Test func `a read that the output budget's end came before is answered zero`() async throws {
        // in al, dx; mov al, 'A'; out 0xe9, al; out 0xe9, al; in al, dx; hlt: the second byte ends the job at the second IN, and
        // what the first one was answered is still in the run area.
        let spec = JobSpec(registers: [.rdx: 0x80], budget: Budget(outputBytes: 1))
        let run = try await Run.of(hex("ec b041 e6e9 e6e9 ec f4"), spec, reusesMachine: true)
        #expect(try run.result.outcome == .exhausted(.output, limit: 1, used: 1))
        #expect(try run.result.registers?.rax == 0)
        #expect(try run.result.exits.io == 2)
    }

    @Test(arguments: [GuestMode.real16, .user64], [1, 100, 5000])
    func `a guest without credit stops, and goes on without loss`(mode: GuestMode, credit: Int) async throws {
        let backend = try Hardware.backend.get()
        let count = 40_000
        let job = try AdmittedJob(
            image: counter(mode), spec: JobSpec(mode: mode, registers: [.rcx: UInt64(count)]), on: backend.profile,
            reusesMachine: true)
        let control = JobControl(hasInput: false)
        control.grantOutput(credit)
        let slot = Slot(number: 0, backend: backend)
        defer { slot.stop() }
        let events = AsyncStream<JobEvent> { continuation in
            slot.start(job, control: control) { event in
                continuation.yield(event)
                if case .finished = event { continuation.finish() }
            }
        }
        var run = Run()
        for await event in events {
            run.events.append(event)
            // Only what was used up is given again, so that the guest comes to a stop each time.
            if case .output(_, let bytes) = event {
                #expect(bytes.count <= max(credit, PendingOutput.chunkBytes + CoalescedWrites.limit))
                control.grantOutput(max(bytes.count, 5000))
            }
        }
        #expect(run.console == counting(count))
        #expect(try ends.map(\.name).contains(run.result.outcome.name))
    }

    @Test(arguments: [GuestMode.real16, .user64])
    func `a guest that is never given credit gets no further than its bounds, and all that it wrote arrives`(
        mode: GuestMode
    ) async throws {
        let total: UInt64 = 1 << 30
        let spec = JobSpec(mode: mode, registers: [.rcx: total], budget: Budget(wallTime: .milliseconds(700)))
        let run = try await Run.of(counter(mode), spec, credit: 100, reusesMachine: true)
        let result = try run.result
        #expect(result.outcome.name == "wall-time-exhausted")
        #expect(run.console == counting(run.console.count))
        #expect(run.console.count > 100, "or nothing was waited for")
        // The credit, then what waits, with a ring and the byte behind it on top.
        #expect(run.console.count <= 100 + PendingOutput.chunkBytes + CoalescedWrites.limit + 1)
        let written = total - (result.registers?.rcx ?? 0)
        // The last write may stand before the loop's decrement.
        #expect([written, written + 1].contains(UInt64(run.console.count)))
    }

    @Test(arguments: [GuestMode.real16, .user64])
    func `a guest whose output is full stops at the next exit, not at the next look`(mode: GuestMode) async throws {
        try await onThread {
            let backend = try Hardware.backend.get()
            let job = try AdmittedJob(
                image: counter(mode),
                spec: JobSpec(mode: mode, registers: [.rcx: 1 << 30], budget: Budget(wallTime: .milliseconds(100))),
                on: backend.profile, reusesMachine: true)
            let machine = try Machine(job.kind, on: backend.hypervisor)
            try machine.prepare(job.start)
            var count = 0
            let execution = Execution(
                machine, budget: job.budget, reportsPortWrites: false, plan: job.plan,
                control: JobControl(hasInput: false), thread: try VCPUThread(), backend: backend.profile
            ) { event in
                if case .output(_, let bytes) = event { count += bytes.count }
            }
            let waiting = [UInt8](repeating: 0, count: PendingOutput.chunkBytes - 1)
            _ = execution.output.append(waiting, to: .console)
            guard case .ended(let result) = execution.run() else { throw Run.Missing.result }
            #expect(result.outcome.name == "wall-time-exhausted")
            #expect(count <= waiting.count + CoalescedWrites.limit + 1)
        }
    }

    @Test(arguments: ["real16-output-flood", "user64-output-flood"])
    func `floods end by every clock and by a cancel`(name: String) async throws {
        let guest = try GuestProgram.named(name)
        for (budget, end) in [
            (Budget(wallTime: .milliseconds(30)), "wall-time-exhausted"),
            (Budget(cpuTime: .milliseconds(10)), "cpu-time-exhausted"),
            (Budget(outputBytes: 50_000), "output-exhausted"), (Budget(), "cancelled"),
        ] {
            let backend = try Hardware.backend.get()
            let job = try AdmittedJob(
                image: guest.image, spec: guest.spec(budget), on: backend.profile, reusesMachine: true)
            let control = JobControl(hasInput: false)
            control.grantOutput(1 << 30)
            let slot = Slot(number: 0, backend: backend)
            defer { slot.stop() }
            let events = AsyncStream<JobEvent> { continuation in
                slot.start(job, control: control) { event in
                    if case .output = event, end == "cancelled" { control.cancel(.client) }
                    continuation.yield(event)
                    if case .finished = event { continuation.finish() }
                }
            }
            var run = Run()
            for await event in events { run.events.append(event) }
            #expect(try run.result.outcome.name == end)
            #expect(!run.console.isEmpty && run.console.allSatisfy { $0 == UInt8(ascii: "y") })
            #expect(try run.result.outputBytes == UInt64(run.console.count))
        }
    }

    // MARK: Nothing of one job in the next

    @Test func `what a stopped guest left in the ring is not in the next job's output`() async throws {
        try await onThread {
            let backend = try Hardware.backend.get()
            let flood = try GuestProgram.named("real16-output-flood")
            let spec = flood.spec()
            let job = try AdmittedJob(image: flood.image, spec: spec, on: backend.profile, reusesMachine: true)
            let machine = try Machine(job.kind, on: backend.hypervisor)
            let thread = try VCPUThread()
            try machine.prepare(job.start)
            machine.current.vcpu.attach()
            // The ring is full, and nobody takes what is in it.
            let exit = try machine.current.vcpu.run()
            #expect(exit == .portOut(PortAccess(port: 0x3F8, size: 1, count: 1)))
            _ = try machine.current.vcpu.settle()
            machine.current.vcpu.detach()
            let isFull = machine.current.vcpu.hasCoalescedWrites
            #expect(isFull)
            #expect(try Self.runHello(on: machine, thread, backend) == Array("4\n".utf8))
        }
    }

    @Test func `a job that is cancelled in mid flood leaves the next one's output clean`() async throws {
        try await onThread {
            let backend = try Hardware.backend.get()
            let flood = try GuestProgram.named("real16-output-flood")
            let job = try AdmittedJob(
                image: flood.image, spec: flood.spec(), on: backend.profile, reusesMachine: true)
            let machine = try Machine(job.kind, on: backend.hypervisor)
            let thread = try VCPUThread()
            for round in 1...20 {
                let control = JobControl(hasInput: false)
                control.grantOutput(1 << 30)
                try machine.prepare(job.start)
                // Stopped by another thread at some instant behind its first bytes.
                let result = try Self.execute(job, control, on: machine, thread, backend) { event in
                    guard case .output = event else { return }
                    DispatchQueue(label: "canceller").async { control.cancel(.client) }
                }
                #expect(result.outcome == .cancelled(by: .client))
                #expect(try Self.runHello(on: machine, thread, backend) == Array("4\n".utf8), "round \(round)")
            }
        }
    }

    private static func execute(
        _ job: AdmittedJob, _ control: JobControl, on machine: Machine, _ thread: VCPUThread, _ backend: Backend,
        emit: @escaping (JobEvent) -> Void
    ) throws -> JobResult {
        let execution = Execution(
            machine, budget: job.budget, reportsPortWrites: false, plan: job.plan, control: control, thread: thread,
            backend: backend.profile, emit: emit)
        guard case .ended(let result) = execution.run() else { throw Run.Missing.result }
        return result
    }

    /// The classic example's output on this machine.
    private static func runHello(on machine: Machine, _ thread: VCPUThread, _ backend: Backend) throws -> [UInt8] {
        let hello = try AdmittedJob(
            image: hex("00d8 0430 baf803 ee b00a ee f4"), spec: JobSpec(registers: [.rax: 2, .rbx: 2]),
            on: backend.profile, reusesMachine: true)
        #expect(hello.kind == machine.kind)
        try machine.prepare(hello.start)
        let control = JobControl(hasInput: false)
        control.grantOutput(1 << 20)
        var console: [UInt8] = []
        let result = try execute(hello, control, on: machine, thread, backend) { event in
            if case .output(.console, let bytes) = event { console += bytes }
        }
        #expect(result.outcome == .halted)
        return console
    }

    private func onThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "coalescing").async { continuation.resume(with: Result { try body() }) }
        }
    }
}

@Suite struct ConsoleCoalescingDecisionTests {
    /// A job that looks at single exits in one way.
    struct Onlooker: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let change: @Sendable (inout JobSpec) -> Void
    }

    static let onlookers = [
        Onlooker(testDescription: "an exit budget") { $0.budget.exits = 1 << 40 },
        Onlooker(testDescription: "a step budget") { $0.budget.steps = 1 << 40 },
        Onlooker(testDescription: "a meter") { $0.meter = .stepped },
        Onlooker(testDescription: "a trace") { $0.isTraced = true },
        Onlooker(testDescription: "a deterministic run") { $0.isDeterministic = true },
        Onlooker(testDescription: "the last exits") { $0.report = [.exits] },
        Onlooker(testDescription: "a digest") { $0.report = [.digest] },
    ]

    private func coalesces(_ spec: JobSpec, reusesMachine: Bool = true, _ profile: BackendProfile) -> Bool {
        MachineKind.coalescesConsole(
            of: spec, plan: profile.plan(for: spec), reusesMachine: reusesMachine, on: profile)
    }

    private var able: BackendProfile {
        var profile = BackendProfile()
        profile.coalescesPortWrites = true
        profile.modes[.real16] = .debugExits
        return profile
    }

    @Test func `a plain job's bytes need no exits on a machine that is kept`() {
        #expect(coalesces(JobSpec(), able))
        #expect(!coalesces(JobSpec(), reusesMachine: false, able))
        #expect(!coalesces(JobSpec(), BackendProfile()), "where KVM cannot")
        var spec = JobSpec(budget: Budget(wallTime: .seconds(1), cpuTime: .seconds(1), outputBytes: 1, touchedBytes: 1))
        spec.report = [.code, .stack, .fpu]
        spec.reportsPortWrites = true
        #expect(coalesces(spec, able), "none of these is about single exits")
    }

    @Test(arguments: onlookers)
    func `a job that looks at exits has one for each byte`(_ onlooker: Onlooker) {
        var spec = JobSpec()
        onlooker.change(&spec)
        #expect(!coalesces(spec, able))
    }
}
