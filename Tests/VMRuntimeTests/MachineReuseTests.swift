// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import KVM
import SeededRandom
import Testing

@testable import VMRuntime

extension JobResult {
    /// What has to be the same each time that a job runs: all but time, and but what a timer brings about.
    fileprivate var repeatable: JobResult {
        var result = self
        (result.queueNanoseconds, result.wallNanoseconds, result.cpuNanoseconds) = (0, 0, 0)
        (result.exits.interrupted, result.exits.debug) = (0, 0)
        return result
    }
}

/// A job whose result and output do not depend on when it runs.
private struct RepeatableJob: Sendable, Hashable, CustomTestStringConvertible {
    let name: String
    let image: [UInt8]
    let spec: JobSpec

    var testDescription: String { name }

    init(_ guest: GuestProgram, _ budget: Budget = Budget(wallTime: .seconds(60)), deterministic: Bool = false) {
        name = guest.name
        image = guest.image
        var spec = guest.spec(budget)
        spec.report = [.exits, .code, .stack, .fpu, .digest]
        spec.isDeterministic = deterministic
        self.spec = spec
    }

    /// Runs in a slot, or else on a machine that was never used.
    func run(in slot: Slot? = nil, for tenant: UInt32? = nil) async throws -> Answer {
        let run = try await Run.of(image, spec, slot: slot, tenant: tenant)
        return Answer(result: try run.result.repeatable, console: run.console)
    }

    struct Answer: Sendable, Hashable {
        var result: JobResult
        var console: [UInt8]
    }

    static func == (left: Self, right: Self) -> Bool { left.name == right.name && left.spec == right.spec }
    func hash(into hasher: inout Hasher) { hasher.combine(name) }
}

@Suite("Jobs on a machine that was used before", .enabled(if: Hardware.isThere, "no usable /dev/kvm"), .serialized)
struct MachineReuseTests {
    private let foundry: MachineFoundry

    init() throws { foundry = try MachineFoundry() }

    /// A guest whose HLT runs together with what comes before it where a software backend steps it.
    private struct HiddenEnd: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let image: [UInt8]
        let spec: JobSpec

        init(_ name: String, _ image: [UInt8], _ spec: JobSpec) {
            (testDescription, self.image, self.spec) = (name, image, spec)
        }

        static func chain(_ name: String) throws -> HiddenEnd {
            let guest = try GuestProgram.named(name)
            return HiddenEnd(name, guest.image, guest.spec(Budget(steps: 100)))
        }

        static let all: [HiddenEnd] = {
            // push 0x10; push 0x80000; pushfq; push 8; push there; iretq; there: hlt
            let returns = hex("6a10 6800000800 9c 6a08 6811001000 48cf f4")
            let chains = ["chain-fault-return-halt", "chain-return-fault-return-halt"]
            return [
                HiddenEnd("in an exception's handler", HiddenHalt.divide, HiddenHalt.divideSpec),
                HiddenEnd("behind IRETQ", returns, JobSpec(mode: .long64, budget: Budget(steps: 100))),
            ] + chains.compactMap { try? chain($0) }
        }()
    }

    @Test("A HLT that stepping hid does not end the next job, on the same machine", arguments: HiddenEnd.all)
    private func hiddenHalt(_ hidden: HiddenEnd) async throws {
        #expect(HiddenEnd.all.count == 4)
        let keeping = MachineKeeping()
        let slot = foundry.slot(keeping)
        // A job of the same kind that prints an A.
        let second = JobSpec(mode: hidden.spec.mode, memoryBytes: hidden.spec.memoryBytes, budget: Budget(steps: 100))
        for _ in 0..<3 {
            let halted = try await Run.of(hidden.image, hidden.spec, slot: slot).result
            #expect(halted.outcome == .halted)
            let run = try await Run.of(hex("b041 e6e9 f4"), second, slot: slot)
            #expect(try run.result.outcome == .halted)
            #expect(run.text == "A")
        }
        #expect(foundry.count == 1)
        await keeping.stop(slot)
    }

    /// What is run behind each ending: it shows all registers, searches memory, searches vector registers.
    private static let probes = ["add", "search", "search-vectors"]

    @Test("After a job of any ending the next ones are what they are on a new machine", arguments: OutcomeRow.all)
    func afterEnding(_ row: OutcomeRow) async throws {
        let keeping = MachineKeeping()
        let slot = foundry.slot(keeping)
        let spec = JobSpec(mode: row.mode, budget: row.budget)
        let kind = try Self.kind(hex(row.guest), spec)
        var kinds: Set = [kind]
        for probe in Self.probes {
            let control = JobControl(hasInput: false)
            if let canceller = row.canceller { control.cancel(canceller) }
            let ended = try await Run.of(hex(row.guest), spec, control: control, slot: slot).result
            #expect(row.isRight(ended), "\(ended.outcome)")
            // The same machine can serve both only if they are of one kind, which steps to count make to differ by mode.
            var budget = Budget(wallTime: .seconds(60))
            budget.steps = row.budget.steps.map { _ in 1_000_000 }
            budget.touchedBytes = row.budget.touchedBytes.map { _ in 64 << 20 }
            let job = RepeatableJob(try .named(probe), budget)
            #expect(try await job.run(in: slot) == job.run(), "\(probe)")
            let probeKind = try Self.kind(job.image, job.spec)
            #expect(probeKind == kind || row.budget.steps != nil || (job.spec.mode == .user64) != (row.mode == .user64))
            kinds.insert(probeKind)
        }
        #expect(kinds.count <= Self.probes.count)
        #expect(foundry.count == kinds.count, "what is of one kind ran on one machine")
        await keeping.stop(slot)
        #expect(foundry.living == 0)
    }

    private static func kind(_ image: [UInt8], _ spec: JobSpec) throws -> MachineKind {
        try AdmittedJob(image: image, spec: spec, on: Hardware.backend.get().profile).kind
    }

    @Test func `a job that the host failed takes its machine with it`() async throws {
        let keeping = MachineKeeping()
        let slot = foundry.slot(keeping)
        _ = try await Run.of(hex("f4"), JobSpec(), slot: slot)
        // An address of 52 bits, which takes more physical address lines than today's processors have.
        var spec = JobSpec(mode: .long64)
        spec.controls = [.cr3: 0xF_FFFF_FFFF_F000]
        let refused = try await Run.of(hex("f4"), spec, slot: slot).result
        guard case .hostError = refused.outcome else {
            Issue.record("\(refused.outcome) where KVM should have refused the registers")
            return
        }
        let job = RepeatableJob(try .named("add"))
        #expect(try await job.run(in: slot) == job.run())
        #expect(foundry.count == 2)
        await keeping.stop(slot)
        #expect(foundry.living == 0)
    }

    /// Jobs of many kinds: modes, sizes of memory, steps counted or not, deterministic, resident pages counted.
    private static func jobs() -> [RepeatableJob] {
        let guests = GuestProgram.counted.filter { ($0.steps ?? .max) <= 1500 && !$0.readsTime }
        return guests.enumerated().map { index, guest in
            var budget = Budget(wallTime: .seconds(60))
            if index % 3 == 0 { budget.steps = 100_000 }
            if index % 7 == 0 { budget.touchedBytes = 64 << 20 }
            return RepeatableJob(guest, budget, deterministic: index % 5 == 0)
        }
    }

    @Test("Two hundred jobs in any order have the results that each has alone", arguments: MachinePolicy.allCases)
    func campaign(policy: MachinePolicy) async throws {
        let keeping = MachineKeeping(policy: policy)
        let slots = [foundry.slot(keeping), foundry.slot(keeping, number: 1)]
        let jobs = Self.jobs()
        var alone: [RepeatableJob: RepeatableJob.Answer] = [:]
        for job in jobs { alone[job] = try await job.run() }
        let expected = alone
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, slot) in slots.enumerated() {
                group.addTask {
                    var random = SplitMix64(state: UInt64(number))
                    for _ in 0..<100 {
                        let job = try #require(jobs.randomElement(using: &random))
                        let tenant: UInt32 = .random(in: 1000...1002, using: &random)
                        let answer = try await job.run(in: slot, for: tenant == 1002 ? nil : tenant)
                        #expect(answer == expected[job], "\(job.name)")
                    }
                }
            }
            try await group.waitForAll()
        }
        await keeping.stop(slots[0], slots[1])
        #expect(foundry.living == 0)
        switch policy {
        case .pooled: #expect(foundry.count < 200)
        case .tenant: #expect(foundry.count > 66, "those without a user have a machine each")
        case .fresh: #expect(foundry.count >= 200)
        }
    }
}

@Suite("Machines in their slots", .enabled(if: Hardware.isThere, "no usable /dev/kvm"), .timeLimit(.minutes(1)))
struct SlotMachineTests {
    private let foundry: MachineFoundry
    private let halt = hex("f4")

    init() throws { foundry = try MachineFoundry() }

    @Test func `jobs of one kind share a machine`() async throws {
        let keeping = MachineKeeping()
        let slot = foundry.slot(keeping)
        for tenant: UInt32? in [1, 2, nil] { _ = try await Run.of(halt, JobSpec(), slot: slot, tenant: tenant) }
        #expect(foundry.count == 1)
        await keeping.stop(slot)
        #expect(foundry.living == 0)
    }

    @Test func `users do not where they must not`() async throws {
        let keeping = MachineKeeping(policy: .tenant)
        let slot = foundry.slot(keeping)
        for tenant: UInt32? in [1, 2, 1, 2, nil, nil] {
            _ = try await Run.of(halt, JobSpec(), slot: slot, tenant: tenant)
        }
        #expect(foundry.count == 4)
        await keeping.stop(slot)
        #expect(foundry.living == 0)
    }

    @Test func `no job follows another on a fresh machine`() async throws {
        let keeping = MachineKeeping(policy: .fresh)
        let slot = foundry.slot(keeping)
        for _ in 0..<10 { _ = try await Run.of(halt, JobSpec(), slot: slot) }
        #expect(foundry.count >= 10)
        await keeping.stop(slot)
        #expect(foundry.living == 0)
    }

    @Test func `a paused job's machine goes with it, to the slot that it ends in`() async throws {
        let keeping = MachineKeeping()
        let (first, second) = (foundry.slot(keeping), foundry.slot(keeping, number: 1))
        var spec = JobSpec(budget: Budget(steps: 10))
        spec.pausesWhenStepsRunOut = true
        // dec cx; jnz; hlt, from CX = 100
        let moved = try await Run.of(hex("b9 64 00 e2 fe f4"), spec, slot: first) { second.resume($1, steps: 1000) }
        #expect(try moved.result.steps == 102)
        #expect(foundry.count == 1)
        let counted = JobSpec(budget: Budget(steps: 1000))
        _ = try await Run.of(halt, counted, slot: second)
        #expect(foundry.count == 1, "the second slot has it")
        _ = try await Run.of(halt, counted, slot: first)
        #expect(foundry.count == 2, "the first has not")
        await keeping.stop(first, second)
        #expect(foundry.living == 0)
    }

    @Test func `a paused job that ends without a slot takes its machine with it, before its result`() async throws {
        let keeping = MachineKeeping()
        let slot = foundry.slot(keeping)
        var spec = JobSpec(budget: Budget(steps: 10))
        spec.pausesWhenStepsRunOut = true
        let run = try await Run.of(hex("eb fe"), spec, slot: slot) { $1.endPaused() }
        #expect(try run.result.steps == 10)
        #expect(foundry.living == 0)
        await keeping.stop(slot)
    }

    @Test func `a slot without jobs gives its machines back but for one`() async throws {
        var keeping = MachineKeeping()
        (keeping.trimDelay, keeping.shrinkDelay) = (.milliseconds(1), .milliseconds(1))
        let slot = foundry.slot(keeping)
        for mebibytes: UInt64 in [1, 2, 3] {
            _ = try await Run.of(halt, JobSpec(memoryBytes: mebibytes << 20), slot: slot)
        }
        while foundry.living > 1 { await Task.yield() }
        let made = foundry.count
        _ = try await Run.of(halt, JobSpec(memoryBytes: 3 << 20), slot: slot)
        #expect(foundry.count == made, "the one of the last job is there")
        await keeping.stop(slot)
        #expect(foundry.living == 0)
    }

    @Test func `a kept machine that cannot be brought back fails nobody's job`() async throws {
        let keeping = MachineKeeping()
        let slot = foundry.slot(keeping)
        #expect(try await Run.of(halt, JobSpec(), slot: slot).result.outcome == .halted)
        // Behind this job, which has another kind of machine, the first one is kept and nobody has it.
        let other = JobSpec(memoryBytes: 2 << 20)
        #expect(try await Run.of(halt, other, slot: slot).result.outcome == .halted)
        foundry.spoil(0)
        #expect(try await Run.of(halt, JobSpec(), slot: slot).result.outcome == .halted)
        #expect(foundry.count == 3)
        await keeping.stop(slot)
        #expect(foundry.living == 0)
    }

    @Test func `a job whose machine cannot be made ends by a fault of the host, and the next one runs`() async throws {
        let keeping = MachineKeeping()
        let slot = foundry.slot(keeping)
        foundry.fail(2)
        let failed = try await Run.of(halt, JobSpec(), slot: slot).result
        #expect(failed.outcome.name == "host-error")
        #expect(try await Run.of(halt, JobSpec(), slot: slot).result.outcome == .halted)
        await keeping.stop(slot)
    }
}
