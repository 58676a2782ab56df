// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

/// vCPUs of ``SeveralVCPUs/unlocked``, each in turns, as arithmetic has it.
private struct ExpectedTurns {
    private(set) var counter = 0
    private(set) var steps: [Int]
    private var places: [Int]
    private var loaded: [Int]
    private var left: [Int]

    init(vcpus: Int, turn: Int, rounds: Int) {
        steps = Array(repeating: 0, count: vcpus)
        (places, loaded, left) = (steps, steps, Array(repeating: rounds, count: vcpus))
        while let _ = places.first(where: { $0 < 6 }) {
            for vcpu in 0..<vcpus {
                for _ in 0..<turn where places[vcpu] < 6 { step(vcpu) }
            }
        }
    }

    /// mov cx; mov ax, [counter]; inc ax; mov [counter], ax; loop; hlt
    private mutating func step(_ vcpu: Int) {
        steps[vcpu] += 1
        switch places[vcpu] {
        case 1: loaded[vcpu] = counter
        case 2: loaded[vcpu] += 1
        case 3: counter = loaded[vcpu]
        case 4:
            left[vcpu] -= 1
            if left[vcpu] > 0 { return places[vcpu] = 1 }
        default: break
        }
        places[vcpu] += 1
    }
}

@Suite("vCPUs that take turns", .enabled(if: Hardware.isThere, "no usable /dev/kvm")) struct TurnTests {
    private func run(_ image: [UInt8], vcpus: Int, turn: UInt64) async throws -> (count: Int, result: JobResult) {
        var spec = SeveralVCPUs.spec(vcpus, turn: turn)
        spec.report = .digest
        spec.isDeterministic = try Hardware.backend.get().profile.determinism.obstacle == nil
        spec.dumps = [MemoryRange(address: 0, count: 4096)]
        let run = try await Run.of(image, spec)
        let page = run.memory.first { !$0.bytes.isEmpty }
        let at = Int(SeveralVCPUs.counter - (page?.address ?? 0))
        let bytes = try #require(page.flatMap { at + 1 < $0.bytes.count ? $0.bytes[at...(at + 1)] : nil })
        return (bytes.reversed().reduce(0) { $0 << 8 | Int($1) }, try run.result)
    }

    @Test(arguments: [2, 3], [1, 3, 5, 7, 64, 1000] as [UInt64])
    func `what is lost without a lock is what arithmetic says, each time`(vcpus: Int, turn: UInt64) async throws {
        let expected = ExpectedTurns(vcpus: vcpus, turn: Int(turn), rounds: 50)
        let (first, second) = (
            try await run(SeveralVCPUs.unlocked, vcpus: vcpus, turn: turn),
            try await run(SeveralVCPUs.unlocked, vcpus: vcpus, turn: turn)
        )
        #expect(first.result.outcome == .halted && first.count == expected.counter)
        #expect(first.result.processors.map(\.steps) == expected.steps.map(UInt64.init))
        #expect(first.result.meter == .exact)
        #expect(first.result.digest != nil && first.result.digest == second.result.digest)
        #expect(first.result.processors.map(\.registers) == second.result.processors.map(\.registers))
    }

    @Test func `some turns lose increments, others do not, and a lock loses none`() async throws {
        #expect(try await run(SeveralVCPUs.unlocked, vcpus: 2, turn: 3).count < 100)
        #expect(try await run(SeveralVCPUs.unlocked, vcpus: 2, turn: 1000).count == 100)
        #expect(try await run(SeveralVCPUs.locked, vcpus: 2, turn: 3).count == 2000)
    }

    @Test func `another turn is another run`() async throws {
        let digests = [
            try await run(SeveralVCPUs.unlocked, vcpus: 2, turn: 3).result.digest,
            try await run(SeveralVCPUs.unlocked, vcpus: 2, turn: 5).result.digest,
        ]
        #expect(digests[0] != digests[1])
    }
}

@Suite("What several vCPUs cannot have", .enabled(if: Hardware.isThere, "no usable /dev/kvm")) struct VCPURefusalTests {
    private func refusal(_ count: Int = 2, _ change: (inout JobSpec) -> Void) throws -> Refusal? {
        var spec = SeveralVCPUs.spec(count)
        change(&spec)
        return try Hardware.backend.get().profile.refusal(of: spec)
    }

    @Test func `what makes no sense is refused by name`() throws {
        let cases: [(String, (inout JobSpec) -> Void)] = [
            ("user64", { $0.mode = .user64 }), ("linux", { $0.mode = .linux }),
            ("snapshot", { $0.snapshot = .ready }), ("traced", { $0.isTraced = true }),
            ("pause", { ($0.pausesWhenStepsRunOut, $0.budget.steps) = (true, 10) }),
            ("rdi", { $0.registers[.rdi] = 1 }), ("rsi", { $0.registers[.rsi] = 1 }),
            ("turn", { $0.isDeterministic = true }),
            ("turn", { $0.meter = .exact }), ("at least 1 step", { $0.turn = 0 }),
        ]
        for (name, change) in cases {
            let refusal = try refusal(2, change)
            #expect(refusal?.rule == .invalidField && refusal?.message.contains(name) == true, "\(name)")
        }
        #expect(try refusal { _ in } == nil)
        #expect(try refusal(1) { $0.turn = 5 }?.message.contains("several") == true)
    }

    @Test func `there are 1 to 16`() throws {
        for count in [0, 17, .max, -1] {
            let refusal = try refusal(count) { _ in }
            #expect(refusal?.limit == 16 && refusal?.rule == .invalidField)
        }
        #expect(try refusal(16) { _ in } == nil)
    }
}
