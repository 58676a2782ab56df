// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// What a job has used of its budgets, which of them is exhausted, and when to look up from the guest to find out.
///
/// | budget | looked at | exhausted |
/// |---|---|---|
/// | steps | after each step, by the step meter | with the last step that it has, if that did not end the guest |
/// | exits | after each exit that the guest brought about | with the last exit that it has, once that is served, likewise |
/// | output | at each write | by the write for which there is no room; of console bytes what fits is sent, of a record nothing |
/// | wall time | by an alarm | when it is reached, wherever the guest is then |
/// | CPU time | by alarms, and at the end | when it is reached |
/// | memory | before the start, by alarms, and at the end | when it is exceeded |
///
/// Where several are exhausted together, one is told:
/// - At an exit: output before exits before steps, and before all of them the guest's own end by that exit. None of these depends
///   on a clock, so that the same job ends the same way whenever it runs.
/// - Looking up by the clock: wall time before CPU time before memory, and a cancellation before all of them.
/// - When the guest has come to an end of its own: CPU time before memory. Nobody gets an end out of more than these; wall time is
///   for stopping what does not end, and is not held against what has.
///
/// Memory that the guest touched in a slice which its meter took back stays touched: host memory backs it.
///
/// The clocks run between ``start()`` and ``stop()``, both on the thread that runs the guest meanwhile; which one that is may differ
/// from one time to the next.
struct BudgetWatch {
    /// The least time between two looks at CPU time: 100 us, in nanoseconds.
    private static let processorInterval: UInt64 = 100_000
    /// The least time between two looks at memory: 200 us, in nanoseconds.
    private static let memoryInterval: UInt64 = 200_000
    /// Nanoseconds in which no guest touches more than one fresh page: the host has to take a fault, and to find and clear the
    /// page. Clearing 4 KiB alone takes about 100 ns; the whole takes 500 ns and more on hardware, 3 us and more on a software
    /// backend.
    private static let fastestTouch: UInt64 = 250
    /// A look at memory takes about a nanosecond for each page that the guest has, and another for each that is there: 0.4 ms for
    /// a full gigabyte. It may take one part in so many of the guest's time; a clock would tell more only of who else ran then.
    private static let lookShare: UInt64 = 10

    private let budget: Budget
    /// What was used up to the last stop.
    private var used = Time()
    /// The clocks at the last start, while they run.
    private var since: Time?
    /// The instant of ``MonotonicClock`` at which the wall time is over; holds while the clocks run.
    private(set) var deadline = UInt64.max
    private var nextProcessorLook = UInt64.max
    private var nextMemoryLook = UInt64.max
    private var outputTaken: UInt64 = 0

    /// Two clocks' nanoseconds.
    struct Time {
        var wall: UInt64 = 0
        var processor: UInt64 = 0

        static var now: Time { Time(wall: MonotonicClock.now, processor: ThreadClock.now) }
    }

    init(_ budget: Budget) { self.budget = budget }

    /// Lets the clocks run, right before the guest does.
    mutating func start() {
        let now = Time.now
        since = now
        let limit = budget.wallTime.wholeNanoseconds
        deadline = now.wall.saturatingAdd(limit - min(used.wall, limit))
        if budget.cpuTime != nil { nextProcessorLook = now.wall }
        if budget.touchedBytes != nil { nextMemoryLook = now.wall }
    }

    /// Stops the clocks: what passes until the next start is not the guest's.
    mutating func stop() {
        used = time
        since = nil
    }

    /// The wall time alone, which any thread may ask for.
    private var wallTime: UInt64 { used.wall + (since.map { MonotonicClock.now - $0.wall } ?? 0) }

    /// The time for which the clocks have run.
    var time: Time {
        guard let since else { return used }
        let now = Time.now
        return Time(
            wall: used.wall + (now.wall - since.wall), processor: used.processor + (now.processor - since.processor))
    }

    // MARK: By the clock

    /// The instant at which ``look(at:_:)`` may find something that it did not find the last time.
    var nextLook: UInt64 { min(deadline, nextProcessorLook, nextMemoryLook) }

    /// Which budget is exhausted, if one is.
    mutating func look(at now: UInt64, _ memory: borrowing GuestMemory) -> Outcome? {
        wallTimeExhausted(at: now) ?? lookAtProcessorTime(now) ?? lookAtMemory(now, memory)
    }

    func wallTimeExhausted(at now: UInt64) -> Outcome? {
        guard now >= deadline else { return nil }
        return .exhausted(.wallTime, limit: budget.wallTime.wholeNanoseconds, used: wallTime)
    }

    /// A thread's processor time never runs faster than the clock on the wall, so that much later is early enough.
    private mutating func lookAtProcessorTime(_ now: UInt64) -> Outcome? {
        guard let limit = budget.cpuTime?.wholeNanoseconds, now >= nextProcessorLook else { return nil }
        let used = time.processor
        guard used < limit else { return .exhausted(.cpuTime, limit: limit, used: used) }
        nextProcessorLook = now.saturatingAdd(max(limit - used, Self.processorInterval))
        return nil
    }

    private mutating func lookAtMemory(_ now: UInt64, _ memory: borrowing GuestMemory) -> Outcome? {
        guard let limit = budget.touchedBytes, now >= nextMemoryLook else { return nil }
        let touched: UInt64
        do throws(KVMError) { touched = try memory.residentBytes() } catch { return .hostError(error.description) }
        guard touched <= limit else { return .exhausted(.memory, limit: limit, used: touched) }
        guard limit < memory.bytes else {
            nextMemoryLook = .max
            return nil
        }
        let soonest = max(Self.memoryInterval, (memory.bytes + touched) / GuestMemory.pageBytes * Self.lookShare)
        let distance = max(soonest, (limit - touched) / GuestMemory.pageBytes * Self.fastestTouch)
        nextMemoryLook = MonotonicClock.now.saturatingAdd(distance)
        return nil
    }

    // MARK: At an exit

    /// The exit budget's end, if these exits are all that it has.
    func exhausted(by exits: ExitCounts) -> Outcome? {
        guard let limit = budget.exits, exits.broughtAbout >= limit else { return nil }
        return .exhausted(.exits, limit: limit, used: exits.broughtAbout)
    }

    /// Takes bytes that the guest wrote. Returns how many of them there is room for; if they cannot be divided, all or none.
    mutating func takeOutput(_ count: Int, isDivisible: Bool) -> Int {
        guard let limit = budget.outputBytes else { return count }
        let room = min(limit - outputTaken, UInt64(count))
        guard isDivisible || room == UInt64(count) else { return 0 }
        outputTaken += room
        return Int(room)
    }

    /// The output budget's end. What was used is what was taken: the limit, or up to 7 bytes less where a record did not fit.
    var outputExhausted: Outcome { .exhausted(.output, limit: budget.outputBytes ?? .max, used: outputTaken) }

    // MARK: At the end

    /// Bytes of memory that the guest has touched; nil where there is no budget for them.
    func touchedBytes(of memory: borrowing GuestMemory) throws(KVMError) -> UInt64? {
        guard budget.touchedBytes != nil else { return nil }
        return try memory.residentBytes()
    }

    /// What the job's end is called: as it came, unless the guest ended by itself and had used more than it may.
    func outcome(of outcome: Outcome, after time: Time, touching touched: UInt64?) -> Outcome {
        switch outcome {
        case .halted, .exited, .faulted, .tripleFault, .unemulatable, .snapshotTaken: break
        case .exhausted, .cancelled, .waitExpired, .hostError: return outcome
        }
        if let limit = budget.cpuTime?.wholeNanoseconds, time.processor >= limit {
            return .exhausted(.cpuTime, limit: limit, used: time.processor)
        }
        if let limit = budget.touchedBytes, let touched, touched > limit {
            return .exhausted(.memory, limit: limit, used: touched)
        }
        return outcome
    }
}

extension UInt64 {
    /// The sum, or the most that fits.
    fileprivate func saturatingAdd(_ other: UInt64) -> UInt64 {
        let sum = addingReportingOverflow(other)
        return sum.overflow ? .max : sum.partialValue
    }
}
