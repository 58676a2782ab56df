// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// Counts steps by letting the guest run on in slices and reading a counter behind each; the last stretch before the limit,
/// and whatever the counter cannot be trusted with, is single-stepped.
///
/// A slice is a trial. Before it the machine's state is kept; behind it the counter says how many instructions ran and whether
/// that is certain. If it is not, or if the slice went beyond the limit, the machine goes back to where it was, nothing of the
/// slice having left it, and tries a shorter one; a doubt that is down to a few instructions is single-stepped. So faults,
/// repeated strings and late timers cost time and never exactness.
///
/// Not seen is a repeated string instruction that the guest writes, runs and overwrites again within one slice: it would be
/// counted more than once. `MeterRequest.stepped` leaves nothing to that.
final class SliceMeter<Counter: SliceCounter & ~Copyable>: StepMeter {
    /// Single steps before looking again whether memory still holds what cannot be run in slices.
    private static var stepsWhileSuspect: UInt64 { 4096 }
    /// A doubtful slice of at most this many instructions is stepped instead of tried again.
    private static var stepsOfDoubt: UInt64 { 1024 }
    /// Bounds on a slice's length in nanoseconds: long enough to be worth its checkpoint, short enough to be done again.
    private static var shortest: UInt64 { 250_000 }
    private static var longest: UInt64 { 20_000_000 }

    private let machine: Machine
    private unowned let execution: Execution
    private var stepper: DebugExitMeter
    private var counter: Counter
    private var memory: MemoryWatch
    private var stepsDue: UInt64
    private var length = SliceMeter.shortest

    init(_ counter: consuming Counter, machine: Machine, execution: Execution, backend: BackendProfile) {
        (self.machine, self.execution) = (machine, execution)
        self.counter = counter
        stepper = DebugExitMeter(machine: machine, execution: execution, backend: backend)
        memory = MemoryWatch(machine)
        stepsDue = backend.stepsBeforeSlices
    }

    func run(limit: UInt64) throws(KVMError) -> Execution.Ending {
        stepper.limit = limit
        while true {
            let left = limit - min(limit, stepper.steps)
            let steps = left <= counter.reach ? left : min(stepsDue, left)
            if steps == 0, left > 0 {
                if let ending = try slice(left) { return ending }
                continue
            }
            stepsDue = 0
            let ending = try stepper.run(limit: limit, upTo: stepper.steps + steps)
            guard case .exhausted(.steps, _, _) = ending.outcome, stepper.steps < limit else { return ending }
        }
    }

    func changeThread(to thread: VCPUThread) throws(KVMError) { try counter.changeThread(to: thread) }

    /// Tries a slice. Returns the job's end if it came.
    private func slice(_ left: UInt64) throws(KVMError) -> Execution.Ending? {
        try stepper.stopStepping()
        guard try memory.keep(), let before = try machine.current.vcpu.checkpoint() else {
            stepsDue = Self.stepsWhileSuspect
            return nil
        }
        guard case .until(let latest) = try counter.start(left: left, on: machine) else {
            stepsDue = Self.stepsOfDoubt
            return nil
        }
        execution.sliceEnd = min(latest ?? .max, MonotonicClock.now + length)
        let exit = try machine.current.vcpu.run()
        execution.sliceEnd = nil
        let reading = try counter.stop(after: exit, on: machine)
        guard reading.isTrusted, reading.count <= left, exit.canEndSlice, try isWithinReach(), try memory.isStillClear()
        else {
            try takeBack(to: before)
            doubt(reading)
            return nil
        }
        length = min(length * 2, Self.longest)
        return try commit(reading.count, exit)
    }

    private func commit(_ count: UInt64, _ exit: VMExit) throws(KVMError) -> Execution.Ending? {
        stepper.add(count)
        guard case .end(let outcome, _) = try execution.complete(exit) else { return nil }
        return stepper.ending(outcome)
    }

    /// Ring 3 may be where nothing is counted.
    private func isWithinReach() throws(KVMError) -> Bool {
        !stepper.isBeyondStepping(try machine.current.vcpu.executionPoint())
    }

    private func takeBack(to before: VCPUCheckpoint) throws(KVMError) {
        try execution.settlePending()
        try memory.takeBack()
        try machine.current.vcpu.restore(before)
    }

    /// Looks more closely: by a shorter slice, or step by step.
    private func doubt(_ reading: SliceReading) {
        if reading.count <= Self.stepsOfDoubt || length == Self.shortest {
            stepsDue = max(1, min(reading.count, Self.stepsWhileSuspect))
        }
        length = max(length / 8, Self.shortest)
    }
}

extension VMExit {
    /// Whether a slice may end so. Whatever else happened is looked at step by step.
    fileprivate var canEndSlice: Bool {
        switch self {
        case .portIn, .portOut, .mmioRead, .mmioWrite, .msrRead, .msrWrite, .halt, .interrupted: true
        case .shutdown, .failEntry, .internalError, .taskPriorityChanged, .debug, .other: false
        }
    }
}

/// Guest memory as it was when the last slice began, and whether anything in it could be what a slice must not run.
private struct MemoryWatch: ~Copyable {
    private let machine: Machine
    private var shadow: MemoryShadow?
    private var suspects: Set<UInt64> = []
    /// Pages that the guest wrote since the memory was kept.
    private var written: [UInt64] = []

    init(_ machine: Machine) { self.machine = machine }

    /// Keeps memory as it is now. Returns whether a slice may begin.
    mutating func keep() throws(KVMError) -> Bool {
        let pages = written + (try machine.vm.takeWrittenPages())
        written = []
        if shadow == nil {
            let occupied = machine.vm.memory.occupiedPages()
            shadow = try MemoryShadow(of: machine.vm.memory, holding: occupied)
            look(at: occupied)
        } else {
            shadow?.keep(pages, of: machine.vm.memory)
            look(at: pages)
        }
        return suspects.isEmpty
    }

    /// Whether what the guest has written since is harmless too.
    mutating func isStillClear() throws(KVMError) -> Bool {
        written = try machine.vm.takeWrittenPages()
        look(at: written)
        return suspects.isEmpty
    }

    /// Puts everything back as it was kept.
    mutating func takeBack() throws(KVMError) {
        written += try machine.vm.takeWrittenPages()
        shadow?.restore(written, in: machine.vm.memory)
        look(at: written)
        written = []
    }

    private mutating func look(at pages: [UInt64]) {
        for page in pages {
            let words = machine.vm.memory.words(of: page)
            if SuspectCode.isIn(words) { suspects.insert(page) } else { suspects.remove(page) }
        }
    }
}
