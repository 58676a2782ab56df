// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import GuestImage
import JobModel
import KVM
import Testing

@testable import VMRuntime

/// A counter that does what a processor's counter can do to a slice: come late, be off, lose its place, not be there.
///
/// It counts right underneath, by KVM's count of emulated instructions, so that only the script is wrong.
private struct ScriptedCounter: SliceCounter {
    enum Act {
        /// Counts right and kicks in time.
        case right
        /// Kicks so late that the guest is beyond its limit, or says so.
        case late
        /// Says that this many instructions may have been counted that did not retire.
        case doubtful(UInt64)
        /// Was not on the processor, and knows nothing.
        case lost
        /// Cannot be started.
        case absent
    }

    let reach: UInt64 = 600
    private var acts: [Act]
    private var act = Act.right
    private var inner = EmulationCounter()
    private var left: UInt64 = 0
    let log: Log

    /// How far the script was played, for the test to look at.
    final class Log: @unchecked Sendable {
        var played = 0
    }

    init(_ acts: [Act], log: Log) { (self.acts, self.log) = (acts, log) }

    mutating func start(left: UInt64, on machine: Machine) throws(KVMError) -> SliceStart {
        act = acts.isEmpty ? .right : acts.removeFirst()
        log.played += 1
        self.left = left
        if case .absent = act { return .impossible }
        let start = try inner.start(left: left, on: machine)
        // Beyond what is left, at the slowest pace that has been seen.
        if case .late = act { return .until(MonotonicClock.now + left * 3000) }
        return start
    }

    mutating func stop(after exit: VMExit, on machine: Machine) throws(KVMError) -> SliceReading {
        let reading = try inner.stop(after: exit, on: machine)
        switch act {
        case .right, .absent: return reading
        case .late: return SliceReading(count: max(reading.count, left + 1), isTrusted: reading.isTrusted)
        case .doubtful(let more): return SliceReading(count: reading.count + more, isTrusted: false)
        case .lost: return SliceReading(count: 0, isTrusted: false)
        }
    }
}

@Suite("Whatever a counter does, the count is exact", .enabled(if: Hardware.isThere, "no usable /dev/kvm"), .serialized)
struct ScriptedCounterTests {
    /// `mov ecx, 100000; again: inc word [0x3000]; push cx; pop ax; dec ecx; jnz again; hlt`
    private static let image = hex("66 B9 A0 86 01 00 FF 06 00 30 51 58 66 49 75 F6 F4")

    private static let alwaysLate = [ScriptedCounter.Act](repeating: .late, count: 1000)

    /// Runs the image with a meter over the scripted counter, on a thread of its own as a slot does.
    private func run(_ acts: [ScriptedCounter.Act], steps: UInt64) async throws -> (
        result: JobResult, log: ScriptedCounter.Log
    ) {
        let backend = try Hardware.backend.get()
        return try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "scripted").async {
                continuation.resume(with: Result { try Self.execute(acts, steps: steps, on: backend) })
            }
        }
    }

    private static func execute(
        _ acts: [ScriptedCounter.Act], steps: UInt64, on backend: Backend
    ) throws -> (result: JobResult, log: ScriptedCounter.Log) {
        let budget = Budget(steps: steps, wallTime: .seconds(60))
        let layout = try GuestLayout(flat: image, spec: JobSpec(mode: .real16, budget: budget))
        let machine = try Machine(readyFor: layout, on: backend, logsWrites: true)
        let control = JobControl(hasInput: false)
        let execution = Execution(
            machine, budget: budget, reportsPortWrites: false, plan: .debugExits, control: control,
            thread: try VCPUThread(), backend: backend.profile, emit: { _ in })
        let log = ScriptedCounter.Log()
        execution.meter = SliceMeter(
            ScriptedCounter(acts, log: log), machine: machine, execution: execution, backend: backend.profile)
        guard case .ended(let result) = execution.run() else { throw Run.Missing.result }
        return (result, log)
    }

    @Test(
        "A counter that misbehaves costs time, not steps",
        arguments: [
            [], Self.alwaysLate, [.lost, .lost, .late], [.doubtful(3), .right, .doubtful(100_000)], [.absent],
            [.right, .late, .doubtful(1), .lost, .absent, .late],
        ] as [[ScriptedCounter.Act]])
    fileprivate func exact(acts: [ScriptedCounter.Act]) async throws {
        try #require(Hardware.backend.get().profile.countsEmulation, "the script needs a software backend under it")
        let steps: UInt64 = 61_234
        let (result, log) = try await run(acts, steps: steps)
        #expect(result.outcome == .exhausted(.steps, limit: steps, used: steps))
        #expect(result.steps == steps)
        #expect(result.meter == .exact)
        // One step for MOV, then five a turn.
        let turns = (steps - 1) / 5
        #expect(result.registers?.rcx == 100_000 - turns)
        #expect(log.played >= min(acts.count, 8))
    }
}
