// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import KVM
import Testing

@testable import VMRuntime

/// Real guests on the kernel's interrupt controllers and timer.
@Suite("Jobs on the board of a PC", .enabled(if: Hardware.isThere, "needs /dev/kvm"), .serialized)
struct PCJobTests {
    private static func spec(_ mode: GuestMode, wallTime: Duration = .seconds(20)) -> JobSpec {
        var spec = JobSpec(mode: mode, memoryBytes: 2 << 20, budget: Budget(wallTime: wallTime))
        spec.board = .pc
        return spec
    }

    private static func run(
        _ image: [UInt8], _ mode: GuestMode = .real16, wallTime: Duration = .seconds(20), slot: Slot? = nil
    ) async throws -> Run {
        try await Run.of(image, spec(mode, wallTime: wallTime), slot: slot)
    }

    // MARK: HLT

    @Test("HLT with interrupts off is the end, as on a bare board")
    func halts() async throws {
        let result = try await Self.run(PCGuests.halt).result
        #expect(result.outcome == .halted)
        #expect(result.registers?.rip == 0x1002)
        #expect(result.exits.other == 0, "the kernel tells nobody of HLT")
    }

    @Test("HLT with interrupts on waits, and time goes on")
    func waits() async throws {
        let result = try await Self.run(PCGuests.wait, wallTime: .milliseconds(60)).result
        guard case .exhausted(.wallTime, _, let used) = result.outcome else {
            Issue.record("it ended as \(result.outcome)")
            return
        }
        #expect(used >= 60_000_000)
    }

    @Test("The timer wakes a guest from HLT")
    func ticks() async throws {
        let run = try await Self.run(PCGuests.ticks)
        let result = try run.result
        #expect(result.outcome == .halted)
        #expect(run.text == "A")
        #expect(result.wallNanoseconds > 80_000_000, "ten interrupts, 10 ms apart")
        #expect(result.cpuNanoseconds < result.wallNanoseconds / 2, "waiting takes no processor time")
    }

    @Test("A guest that an NMI can wake is not halted")
    func watchdog() async throws {
        let result = try await Self.run(PCGuests.watchdog, .protected32).result
        #expect(result.outcome == .exited(code: 2))
    }

    @Test(
        "A reset of the processor is the end",
        arguments: [[0xB0, 0xFE, 0xE6, 0x64], [0xB0, 0x01, 0xE6, 0x92]] as [[UInt8]])
    func resets(image: [UInt8]) async throws {
        let result = try await Self.run(image + [0xEB, 0xFE]).result
        #expect(result.outcome == .halted)
    }

    // MARK: Steps

    @Test("Steps are exact: a HLT is one, however long it waits, and each handler's instructions count")
    func steps() async throws {
        var spec = Self.spec(.real16)
        spec.meter = .exact
        let run = try await Run.of(PCGuests.ticks, spec)
        let result = try run.result
        #expect(result.outcome == .halted)
        #expect(run.text == "A")
        // 23 before the loop, ten times 4 in it and 6 in the handler, 4 behind it.
        #expect(result.steps == 127)
        #expect(result.meter == .exact)
    }

    @Test(
        "A step budget ends the guest after so many, before, at and behind its HLT",
        arguments: [1, 24, 25, 26, 126] as [UInt64])
    func stepBudget(limit: UInt64) async throws {
        var spec = Self.spec(.real16)
        spec.budget.steps = limit
        let result = try await Run.of(PCGuests.ticks, spec).result
        #expect(result.outcome == .exhausted(.steps, limit: limit, used: limit))
        #expect(result.steps == limit)
    }

    @Test("A guest that waits for ever uses up its time, and no steps")
    func stepsOfWaiting() async throws {
        var spec = Self.spec(.real16, wallTime: .milliseconds(60))
        spec.meter = .exact
        let result = try await Run.of(PCGuests.wait, spec).result
        guard case .exhausted(.wallTime, _, _) = result.outcome else {
            Issue.record("it ended as \(result.outcome)")
            return
        }
        #expect(result.steps == 2)
    }

    // MARK: Memory

    @Test("Where nothing is reads give all ones and writes vanish, and both are counted")
    func nowhere() async throws {
        let result = try await Self.run(PCGuests.nowhere, .protected32).result
        #expect(result.outcome == .exited(code: .max))
        #expect(result.exits.mmio == 2)
        #expect(result.droppedMemoryWrites == 1)
    }

    @Test("A ROM starts as behind a reset, cannot be written, and has a copy below 1 MiB that can")
    func rom() async throws {
        var spec = Self.spec(.real16)
        spec.isROM = true
        let run = try await Run.of(PCGuests.rom, spec)
        let result = try run.result
        #expect(run.console == [0xAA, 0x55])
        #expect(result.outcome == .halted)
        #expect(result.registers?.rip == 0xFFFF_0064)
        #expect(result.droppedMemoryWrites == 1)
    }

    @Test("What a guest wrote to a ROM's copy is not there in the next job")
    func romAgain() async throws {
        var spec = Self.spec(.real16)
        spec.isROM = true
        let start = try StartingPoint(image: PCGuests.rom, spec: spec)
        let slot = Slot(number: 0, backend: try Hardware.backend.get())
        defer { slot.stop() }
        for _ in 0..<2 {
            let job = try AdmittedJob(start, spec: spec, on: Hardware.backend.get().profile, reusesMachine: true)
            let run = try await Run.of(job, slot: slot)
            #expect(run.console == [0xAA, 0x55])
        }
    }

    // MARK: Registers

    @Test("Firmware finds its registers, and what it writes")
    func registers() async throws {
        #expect(try await Self.run(PCGuests.read(0xFE), .protected32).result.outcome == .exited(code: 0x508))
        let written = try await Self.run(PCGuests.write(0x250, 0x0606_0606), .protected32).result
        #expect(written.outcome == .exited(code: 0x0606_0606))
    }

    @Test("The host writes nothing into the guest's memory: KVM's own registers fault", arguments: [0x4B56_4D01, 0x12])
    func hostRegisters(number: UInt32) async throws {
        let result = try await Self.run(PCGuests.write(number, 0x3001), .protected32).result
        #expect(result.outcome == .tripleFault)
    }

    @Test("The guest sees no hypervisor's leaves and has processor number 0")
    func identity() async throws {
        let signature = try await Self.run(PCGuests.identify(0x4000_0000), .protected32).result
        #expect(signature.outcome == .exited(code: 0))
        let first = try await Self.run(PCGuests.identify(1), .protected32).result
        guard case .exited(let code) = first.outcome else {
            Issue.record("it ended as \(first.outcome)")
            return
        }
        #expect(code >> 24 == 0)
    }

    // MARK: Between jobs

    @Test("A machine with interrupt controllers serves one job, and the next finds none of its traces")
    func traces() async throws {
        let foundry = try MachineFoundry()
        let slot = foundry.slot(MachineKeeping())
        defer { slot.stop() }
        let first = try await Self.run(PCGuests.trace, slot: slot)
        let second = try await Self.run(PCGuests.trace, slot: slot)
        #expect(first.console.count == 3)
        #expect(first.console == second.console)
        #expect(first.console[0] != 0xFE && first.console[1] == 0)
        #expect(foundry.count == 2)
    }

    @Test("Machines of bare jobs are used again beside it")
    func bareJobs() async throws {
        let foundry = try MachineFoundry()
        let slot = foundry.slot(MachineKeeping())
        defer { slot.stop() }
        let bare = JobSpec(memoryBytes: 2 << 20)
        for _ in 0..<2 {
            #expect(try await Run.of([0xF4], bare, slot: slot).result.outcome == .halted)
            #expect(try await Self.run(PCGuests.halt, slot: slot).result.outcome == .halted)
        }
        #expect(foundry.count == 3)
    }
}

@Suite("What cannot be had with a board", .enabled(if: Hardware.isThere, "needs /dev/kvm"))
struct BoardRefusalTests {
    private static func refusal(_ image: [UInt8] = [0xF4], _ change: (inout JobSpec) -> Void) throws -> Refusal? {
        var spec = JobSpec(memoryBytes: 2 << 20)
        spec.board = .pc
        change(&spec)
        let profile = try Hardware.backend.get().profile
        do throws(Refusal) {
            _ = try AdmittedJob(image: image, spec: spec, on: profile)
            return nil
        } catch {
            return error
        }
    }

    @Test("Nothing is wrong with a job that asks for no more than the board")
    func nothing() throws {
        #expect(try Self.refusal { _ in } == nil)
    }

    @Test("A deterministic job, a snapshot and ring 3 are refused by name")
    func fields() throws {
        let deterministic = try Self.refusal { $0.isDeterministic = true }
        #expect(deterministic?.rule == .invalidField && deterministic?.message.contains("deterministic") == true)
        let snapshot = try Self.refusal { $0.snapshot = .ready }
        #expect(snapshot?.rule == .invalidField && snapshot?.message.contains("snapshot") == true)
        let user = try Self.refusal { $0.mode = .user64 }
        #expect(user?.rule == .invalidField && user?.message.contains("user64") == true)
    }

    @Test("So is a trace")
    func trace() throws {
        let trace = try Self.refusal { $0.isTraced = true }
        #expect(trace?.rule == .invalidField && trace?.message.contains("trace") == true)
    }

    @Test("Steps are counted by stepping, whatever counter there is")
    func steps() throws {
        var spec = JobSpec(memoryBytes: 2 << 20, budget: Budget(steps: 10))
        spec.board = .pc
        #expect(try Hardware.backend.get().profile.plan(for: spec) == .debugExits)
    }

    @Test("A ROM needs the board, and the size and start of one")
    func roms() throws {
        let small = [UInt8](repeating: 0, count: 1 << 16)
        let bare = try Self.refusal(small) { ($0.board, $0.isROM) = (.bare, true) }
        #expect(bare?.rule == .invalidField && bare?.message.contains("board bare") == true)
        #expect(try Self.refusal(small) { $0.isROM = true } == nil)
        #expect(try Self.refusal([0xF4]) { $0.isROM = true }?.value == 1)
    }

    @Test("A KVM that lacks something for it says what")
    func missing() throws {
        var profile = try Hardware.backend.get().profile
        profile.missingForPC = ["KVM_CAP_IRQCHIP"]
        var spec = JobSpec(memoryBytes: 2 << 20)
        spec.board = .pc
        let refusal = profile.refusal(of: spec)
        #expect(refusal?.rule == .modeUnavailable && refusal?.message.contains("KVM_CAP_IRQCHIP") == true)
    }
}
