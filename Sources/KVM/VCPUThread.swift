// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// The calling thread, made ready to run vCPUs: its kick signal is unblocked and it has a timer of its own.
///
/// Make it on the thread that will run the vCPUs and use it only there. A kick signal that arrives while no vCPU is attached
/// does nothing.
public final class VCPUThread {
    private let timer: UInt
    /// What the timer was last set to; it has gone off if that has passed.
    private var alarm = UInt64.max
    /// The processor's count of what guests retire on this thread; nil where there is none, or none for this user.
    public let counter: InstructionCounter?

    /// Prepares the calling thread, and opens what it may need: a worker that has put itself into its sandbox opens nothing more.
    ///
    /// - Parameter countsInstructions: whether ``counter`` may be wanted; not of a thread that is made later than the sandbox.
    ///
    /// `pthread_sigmask`, `timer_create` with `SIGEV_THREAD_ID`, `perf_event_open`.
    public init(countsInstructions: Bool = true) throws(KVMError) {
        _ = try KVMError.check(ckvm_prepare_thread(), .prepareThread)
        var timer: UInt = 0
        // SAFETY: the call stores one id.
        _ = try KVMError.check(unsafe ckvm_timer_create(&timer), .makeTimer)
        self.timer = timer
        counter = countsInstructions ? try? InstructionCounter() : nil
    }

    deinit { ckvm_timer_delete(timer) }

    /// Kicks this thread's vCPU at an instant of ``MonotonicClock``, or never if nil. One instant at a time.
    ///
    /// `timer_settime` with `TIMER_ABSTIME`; an instant that has passed fires at once.
    public func setAlarm(at instant: UInt64?) throws(KVMError) {
        _ = try KVMError.check(ckvm_timer_arm(timer, instant.map { max($0, 1) } ?? 0), .armTimer)
        alarm = instant ?? .max
    }

    /// Kicks this thread's vCPU at this instant at the latest: where an earlier alarm is still to come, that one has to do, and
    /// whoever is kicked by it asks again. So an alarm that a job leaves behind serves the next one, and short jobs set none.
    ///
    /// The vCPU is attached already: an alarm that goes off before that kicks nobody.
    public func setAlarm(by instant: UInt64) throws(KVMError) {
        guard instant < alarm || alarm <= MonotonicClock.now else { return }
        try setAlarm(at: instant)
    }
}

/// `CLOCK_MONOTONIC`.
public enum MonotonicClock {
    /// Nanoseconds since an arbitrary start.
    public static var now: UInt64 { ckvm_now() }
}

/// The processor's time-stamp counter.
public enum TimeStampCounter {
    /// RDTSC.
    public static var now: UInt64 { ckvm_ticks() }

    /// Whether it runs at one rate whatever the processor does, so that it can serve as a clock.
    public static let isSteady = ckvm_ticks_are_steady() != 0
}

/// `CLOCK_REALTIME`.
public enum RealtimeClock {
    /// Nanoseconds since 1970.
    public static var now: UInt64 { ckvm_realtime() }
    /// Whole seconds since 1970.
    public static var seconds: UInt64 { now / 1_000_000_000 }
}

/// `CLOCK_THREAD_CPUTIME_ID`: the processor time of the calling thread, what its vCPUs spend in their guests included.
public enum ThreadClock {
    /// Nanoseconds since the thread's start. A system call.
    public static var now: UInt64 { ckvm_thread_time() }
}

/// What the calling thread has asked of vCPUs.
public enum VCPUCalls {
    /// Calls to vCPUs since the thread began: `KVM_RUN` and every other ioctl of a vCPU's descriptor.
    public static var count: UInt64 { ckvm_vcpu_calls() }
}
