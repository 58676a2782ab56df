// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// Counts the instructions of one slice: one `KVM_RUN` that goes on until the guest needs the worker or a timer ends it.
protocol SliceCounter: ~Copyable {
    /// Steps before the limit from which on slices are of no use, since few of them would end before it.
    var reach: UInt64 { get }

    /// Begins to count. Returns when the slice has to end, as an instant of ``MonotonicClock``; nil if the counter itself kicks
    /// the vCPU in time; or that it cannot count now.
    mutating func start(left: UInt64, on machine: Machine) throws(KVMError) -> SliceStart

    /// The count of the slice that this exit ended, before the exit has been served.
    mutating func stop(after exit: VMExit, on machine: Machine) throws(KVMError) -> SliceReading

    /// The next slice runs on this thread, the calling one, which may be another than before.
    mutating func changeThread(to thread: VCPUThread) throws(KVMError)
}

extension SliceCounter where Self: ~Copyable {
    /// Nothing to do for a count that is the vCPU's.
    func changeThread(to thread: VCPUThread) throws(KVMError) {}
}

/// Whether a slice can begin.
enum SliceStart: Equatable {
    /// Not here: the next steps have to be single ones.
    case impossible
    /// Until this instant at the latest, if there is one.
    case until(UInt64?)
}

/// What a counter says of a slice.
struct SliceReading: Equatable {
    /// Instructions, those that other things than the guest's progress may have added included.
    var count: UInt64
    /// Whether that is exactly the number of instructions that retired.
    var isTrusted: Bool
}

/// KVM's own count of the instructions that it emulated, which on a software backend is each of them outside ring 3.
///
/// It also counts a faulting instruction's attempt, and a repeated string instruction more than once. The first shows in the
/// vCPU's events; memory that could hold the second is not run in slices (``SuspectCode``).
struct EmulationCounter: SliceCounter {
    /// Nanoseconds for an instruction of the fastest emulator: 4 instructions a microsecond, where 2 have been seen.
    private static let quickest: UInt64 = 250
    /// Fewer instructions than these say nothing about the guest's pace.
    private static let measurable: UInt64 = 2000

    let reach: UInt64 = 1000
    /// Nanoseconds that an instruction takes this guest, a quarter taken off: what is left is aimed at from below.
    private var pace = EmulationCounter.quickest
    private var before: UInt64 = 0
    private var left: UInt64 = 0
    private var startedAt: UInt64 = 0

    init() {}

    mutating func start(left: UInt64, on machine: Machine) throws(KVMError) -> SliceStart {
        guard let now = machine.current.vcpu.emulatedInstructions(), machine.current.vcpu.watchExceptions() else {
            return .impossible
        }
        (before, self.left, startedAt) = (now, left, MonotonicClock.now)
        let time = left.multipliedReportingOverflow(by: pace)
        let end = startedAt.addingReportingOverflow(time.partialValue)
        return .until(time.overflow || end.overflow ? nil : end.partialValue)
    }

    mutating func stop(after exit: VMExit, on machine: Machine) throws(KVMError) -> SliceReading {
        guard let now = machine.current.vcpu.emulatedInstructions() else {
            return SliceReading(count: 0, isTrusted: false)
        }
        let count = now &- before
        if count > left {
            pace = Self.quickest
        } else if count >= Self.measurable {
            pace = max((MonotonicClock.now - startedAt) / count * 3 / 4, Self.quickest)
        }
        return SliceReading(count: count, isTrusted: !machine.current.vcpu.hasRaisedException)
    }
}
