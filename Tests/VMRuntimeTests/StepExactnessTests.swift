// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

/// Guests whose number of steps follows from their source, against the meters.
@Suite("Steps are counted exactly", .enabled(if: Hardware.isThere, "no usable /dev/kvm"), .serialized)
struct StepExactnessTests {
    /// More than any of the counted guests takes.
    static let plenty: UInt64 = 1_000_000

    @Test("A guest counts to its known number of steps", arguments: GuestProgram.counted)
    func known(_ guest: GuestProgram) async throws {
        let result = try await Run.of(guest.image, guest.spec(Budget(steps: Self.plenty))).result
        #expect(result.outcome.end == guest.end, "\(result.outcome)")
        #expect(result.steps == guest.steps)
        #expect(result.meter == .exact)
    }

    @Test("A budget of exactly its steps lets a guest end", arguments: GuestProgram.counted)
    func enough(_ guest: GuestProgram) async throws {
        let steps = try #require(guest.steps)
        let result = try await Run.of(guest.image, guest.spec(Budget(steps: steps))).result
        #expect(result.steps == steps)
        if guest.lastStepEndsIt {
            #expect(result.outcome.end == guest.end, "\(result.outcome)")
        } else {
            // What ends it comes behind its last step, and so behind the budget.
            #expect(result.outcome == .exhausted(.steps, limit: steps, used: steps))
        }
    }

    @Test("A budget of one step less stops a guest", arguments: GuestProgram.counted.filter { $0.steps != 1 })
    func short(_ guest: GuestProgram) async throws {
        let budget = try #require(guest.steps) - 1
        let result = try await Run.of(guest.image, guest.spec(Budget(steps: budget))).result
        guard case .bounded = result.meter else {
            #expect(result.outcome == .exhausted(.steps, limit: budget, used: budget))
            return
        }
        // The last two retired in one go, and the meter says so.
        #expect(result.steps == budget + 1)
    }

    @Test("A guest ends the same metered and free", arguments: GuestProgram.counted)
    func same(_ guest: GuestProgram) async throws {
        let free = try await Run.of(guest.image, guest.spec())
        let metered = try await Run.of(guest.image, guest.spec(Budget(steps: Self.plenty)))
        let (freeResult, meteredResult) = (try free.result, try metered.result)
        #expect(freeResult.outcome.end == guest.end)
        #expect(freeResult.outcome == meteredResult.outcome)
        #expect(free.console == metered.console)
        #expect(freeResult.unclaimedPortWrites == meteredResult.unclaimedPortWrites)
        #expect(freeResult.droppedMemoryWrites == meteredResult.droppedMemoryWrites)
        guard !guest.readsTime else { return }
        #expect(freeResult.registers == meteredResult.registers)
        #expect(freeResult.system == meteredResult.system)
    }
}

extension GuestProgram {
    /// Whether the last step is what ends it; an exception is no step, but INT3 is both.
    var lastStepEndsIt: Bool {
        switch end {
        case .halted, .exited: true
        case .faulted(let vector): vector == 3
        case .tripleFault, .open: false
        }
    }

    /// Leaves the time-stamp counter in its registers.
    var readsTime: Bool { name.hasSuffix("-cpuid") }
}
