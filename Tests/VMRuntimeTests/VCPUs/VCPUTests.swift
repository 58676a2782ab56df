// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

/// Guests whose vCPUs are told apart by DI, and how many steps those take.
enum SeveralVCPUs {
    /// The word that they count in.
    static let counter: UInt64 = 0x800

    /// `mov cx, 1000; again: lock inc word [0x800]; loop again; hlt`
    static let locked = hex("b9e803 f0ff060008 e2f9 f4")
    /// `mov cx, 50; again: mov ax, [0x800]; inc ax; mov [0x800], ax; loop again; hlt`
    static let unlocked = hex("b93200 a10008 40 a30008 e2f7 f4")
    /// The first writes 7 to the exit port, the others spin: `test di, di; jnz spin; mov al, 7; out 0xf4, al; spin: jmp spin`
    static let firstExits = hex("85ff 7504 b007 e6f4 ebfe")
    /// The first spins, the others halt: `test di, di; jz spin; hlt; spin: jmp spin`
    static let firstSpins = hex("85ff 7401 f4 ebfe")
    /// `jmp $`
    static let spinning = hex("ebfe")
    /// Each says its number: `mov ax, di; add al, '0'; out 0xe9, al; hlt`
    static let saying = hex("89f8 0430 e6e9 f4")

    static func spec(_ count: Int, turn: UInt64? = nil, mode: GuestMode = .real16, _ budget: Budget? = nil) -> JobSpec {
        var spec = JobSpec(mode: mode, memoryBytes: 2 << 20, budget: budget ?? Budget(wallTime: .seconds(60)))
        (spec.vcpus, spec.turn) = (count, turn)
        return spec
    }
}

extension Run {
    /// The guest's word at this address, of a job that dumps its page.
    fileprivate func word(at address: UInt64) -> Int? {
        for record in memory
        where record.address <= address && address + 1 < record.address + UInt64(record.bytes.count) {
            let at = Int(address - record.address)
            return Int(record.bytes[at]) | Int(record.bytes[at + 1]) << 8
        }
        return nil
    }
}

extension JobResult {
    fileprivate var states: [ProcessorReport.State] { processors.map(\.state) }
}

@Suite("Several vCPUs in one job", .enabled(if: Hardware.isThere, "no usable /dev/kvm")) struct VCPUTests {
    private func count(_ image: [UInt8], _ spec: JobSpec) async throws -> (count: Int?, result: JobResult) {
        var spec = spec
        spec.dumps = [MemoryRange(address: 0, count: 4096)]
        let run = try await Run.of(image, spec)
        return (run.word(at: SeveralVCPUs.counter), try run.result)
    }

    // MARK: At once

    @Test(arguments: [2, 3, 16]) func `locked increments of all are all there`(vcpus: Int) async throws {
        let (count, result) = try await count(SeveralVCPUs.locked, SeveralVCPUs.spec(vcpus))
        #expect(result.outcome == .halted && count == 1000 * vcpus)
        #expect(result.states == Array(repeating: .halted, count: vcpus))
        #expect(result.steps == nil && result.processors.allSatisfy { $0.steps == nil })
    }

    @Test func `each has its steps counted while all run at once`() async throws {
        let spec = SeveralVCPUs.spec(2, Budget(steps: 10_000, wallTime: .seconds(60)))
        let (count, result) = try await count(SeveralVCPUs.locked, spec)
        #expect(result.outcome == .halted && count == 2000)
        let steps = result.processors.map(\.steps)
        #expect(steps == [2002, 2002])
        #expect(result.steps == 4004)
        guard case .bounded = result.meter else {
            Issue.record("\(result.meter) of vCPUs that may change each other's code")
            return
        }
    }

    @Test(arguments: [GuestMode.protected32, .long64])
    func `each starts with its number, how many there are, and a stack of its own`(mode: GuestMode) async throws {
        let result = try await Run.of(hex("f4"), SeveralVCPUs.spec(3, mode: mode)).result
        try #require(result.processors.count == 3)
        for (number, processor) in result.processors.enumerated() {
            let registers = try #require(processor.registers)
            #expect(registers.rdi == UInt64(number) && registers.rsi == 3)
            #expect(registers.rsp == 0x20_0000 - UInt64(number) * 0x4000)
        }
        #expect(result.registers == result.processors[0].registers)
    }

    @Test func `a job with one vCPU starts as ever and tells of no others`() async throws {
        let result = try await Run.of(hex("f4"), SeveralVCPUs.spec(1, mode: .long64)).result
        #expect(result.processors.isEmpty && result.registers?.rdi == 0 && result.registers?.rsi == 0)
    }

    @Test(arguments: [nil, 3] as [UInt64?]) func `one that exits ends the others`(turn: UInt64?) async throws {
        let result = try await Run.of(SeveralVCPUs.firstExits, SeveralVCPUs.spec(3, turn: turn)).result
        #expect(result.outcome == .exited(code: 7) && result.states == [.ended, .stopped, .stopped])
    }

    @Test(arguments: [nil, 7] as [UInt64?]) func `all that they write arrives`(turn: UInt64?) async throws {
        let run = try await Run.of(SeveralVCPUs.saying, SeveralVCPUs.spec(4, turn: turn))
        #expect(run.text.sorted() == ["0", "1", "2", "3"] && (turn == nil || run.text == "0123"))
        #expect(try run.result.outputBytes == 4)
    }

    @Test(arguments: [nil, 100] as [UInt64?]) func `one that faults is told apart`(turn: UInt64?) async throws {
        // test edi, edi; jz spin; ud2; spin: jmp spin
        let image = hex("85ff 7402 0f0b ebfe")
        let result = try await Run.of(image, SeveralVCPUs.spec(2, turn: turn, mode: .protected32)).result
        #expect(result.outcome == .tripleFault && result.states == [.stopped, .ended])
        #expect(result.registers.map { $0.rip == 0x10_0004 } ?? true, "the result's registers are its own")
    }

    // MARK: Budgets

    @Test(arguments: [nil, 100] as [UInt64?]) func `one that uses up its steps ends the job`(turn: UInt64?) async throws
    {
        let spec = SeveralVCPUs.spec(2, turn: turn, Budget(steps: 1001, wallTime: .seconds(60)))
        let result = try await Run.of(SeveralVCPUs.firstSpins, spec).result
        #expect(result.outcome == .exhausted(.steps, limit: 1001, used: 1001))
        #expect(result.processors.first?.state == .ended && result.processors.first?.steps == 1001)
    }

    @Test(arguments: [nil, 100] as [UInt64?])
    func `one that uses up its processor time ends the job, and only its own counts`(turn: UInt64?) async throws {
        let budget = Budget(wallTime: .seconds(60), cpuTime: .milliseconds(50))
        let result = try await Run.of(SeveralVCPUs.firstSpins, SeveralVCPUs.spec(2, turn: turn, budget)).result
        guard case .exhausted(.cpuTime, limit: 50_000_000, let used) = result.outcome else {
            Issue.record("\(result.outcome)")
            return
        }
        #expect(used >= 50_000_000 && result.states == [.ended, .halted])
        #expect(result.processors[1].cpuNanoseconds < 50_000_000)
        #expect(result.cpuNanoseconds == result.processors.reduce(0) { $0 + $1.cpuNanoseconds })
    }

    @Test(arguments: [nil, 100] as [UInt64?]) func `the wall time stops all`(turn: UInt64?) async throws {
        let spec = SeveralVCPUs.spec(3, turn: turn, Budget(wallTime: .milliseconds(100)))
        let result = try await Run.of(SeveralVCPUs.spinning, spec).result
        guard case .exhausted(.wallTime, _, _) = result.outcome else {
            Issue.record("\(result.outcome)")
            return
        }
        #expect(result.states == [.stopped, .stopped, .stopped])
    }

    @Test(arguments: [nil, 100] as [UInt64?]) func `a cancel stops all, even where the first has halted`(
        turn: UInt64?
    ) async throws {
        // test di, di; jz done; mov al, 'x'; out 0xe9, al; spin: jmp spin; done: hlt
        let image = hex("85ff 7406 b078 e6e9 ebfe f4")
        let control = JobControl(hasInput: false)
        control.grantOutput(1 << 20)
        let backend = try Hardware.backend.get()
        let job = try AdmittedJob(image: image, spec: SeveralVCPUs.spec(3, turn: turn), on: backend.profile)
        let slot = Slot(number: 0, backend: backend)
        defer { slot.stop() }
        let result = await withCheckedContinuation { continuation in
            slot.start(job, control: control) { event in
                if case .output = event { control.cancel(.client) }
                if case .finished(let result) = event { continuation.resume(returning: result) }
            }
        }
        #expect(result.outcome == .cancelled(by: .client))
        #expect(result.states.dropFirst() == [.stopped, .stopped])
    }

    @Test(arguments: [nil, 5] as [UInt64?]) func `the last exits are those of the one that ended the job`(
        turn: UInt64?
    ) async throws {
        // test di, di; jnz spin; in al, 0x61; mov al, 9; out 0xf4, al; spin: out 0x80, al; jmp spin
        var spec = SeveralVCPUs.spec(2, turn: turn)
        spec.report = .exits
        let result = try await Run.of(hex("85ff 7506 e461 b009 e6f4 e680 ebfc"), spec).result
        #expect(result.outcome == .exited(code: 9))
        let ports = result.postMortem.exits.map(\.address)
        #expect(ports.last == 0xF4 && Set(ports).isSubset(of: [0x61, 0xF4]))
    }

    @Test func `exits are bounded for all together`() async throws {
        // again: out 0x80, al; jmp again
        let spec = SeveralVCPUs.spec(2, Budget(wallTime: .seconds(60), exits: 100))
        let result = try await Run.of(hex("e680 ebfc"), spec).result
        #expect(result.outcome == .exhausted(.exits, limit: 100, used: 100) && result.exits.io == 100)
    }

    @Test func `one slot runs jobs with several vCPUs after one another, and others between them`() async throws {
        let slot = Slot(number: 0, backend: try Hardware.backend.get())
        defer { slot.stop() }
        for round in 0..<20 {
            let spec = SeveralVCPUs.spec(round % 3 + 1)
            let result = try await Run.of(SeveralVCPUs.locked, spec, slot: slot).result
            #expect(result.outcome == .halted && result.processors.count == (round % 3 == 0 ? 0 : round % 3 + 1))
        }
    }
}
