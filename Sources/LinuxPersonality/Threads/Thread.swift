// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// One of the program's threads. All of them share one vCPU: what it holds of a thread is kept here while others run.
struct Thread: Sendable {
    /// `gettid`; the first thread's is the process's.
    let number: UInt32
    /// What `PR_SET_NAME` sets: at most 15 bytes.
    var name: [UInt8] = []

    // MARK: Registers

    /// As they were when the thread was last served.
    var registers = Registers()
    /// FS.base and GS.base, while another thread runs.
    var bases: (fs: UInt64, gs: UInt64) = (0, 0)
    /// x87, SSE and later registers, while another thread runs; nil for those of a thread that begins.
    var extendedState: [UInt8]?

    // MARK: Waiting

    /// The call that it waits in, or that is to be served again.
    var call: WaitingCall?
    /// Its place in a `futex`'s queue.
    var futex: FutexPlace?

    // MARK: Signals

    /// What is blocked.
    var mask = SignalSet()
    /// What was blocked before a call put another mask in place for as long as it waits.
    var maskToRestore: SignalSet?
    /// What was sent to this thread.
    var pending = PendingSignals()
    var stack = AlternateStack()
    /// The exception that it had last.
    var trap = SignalFrame.Trap()
    /// The call that a signal has ended, until it is known whether it begins again behind the handler.
    var interrupted: SystemCall?

    // MARK: Its end

    /// What becomes 0, and is woken, when it ends: `set_tid_address`.
    var clearedAddress: UInt64 = 0
    /// The list of locks that others get when it ends: `set_robust_list`.
    var robustList: UInt64 = 0

    init(number: UInt32) { self.number = number }

    /// Whether it can go on, or find out whether it can.
    var isReady: Bool { call?.isWoken ?? true }
}

/// A system call that a thread waits in.
struct WaitingCall: Sendable {
    var wait: Wait
    /// When it was served for the first time, by the monotonic clock.
    var started: UInt64
    /// Something came that it waits for, so that it is to be served again.
    var isWoken = false
}

/// All threads of a process.
struct ThreadTable: Sendable {
    /// The most threads that there can be at once, `RLIMIT_NPROC`: 1024.
    static let limit = 1024
    /// Where numbers begin anew: `pid_max`.
    static let numberLimit: UInt32 = 1 << 22

    private var all: [Thread]
    /// The thread that is being served.
    private(set) var current = 0
    /// The thread whose registers the vCPU holds, unless it has ended.
    private(set) var holder: Int?
    private var lastNumber: UInt32
    /// Before this instant of the monotonic clock no waiting thread's deadline comes.
    private(set) var nextDeadline = UInt64.max
    /// Counts the places in queues that were given out, so that they are in order.
    private var placesGiven: UInt64 = 0
    /// Bytes of the vCPU's extended state, as far as it was asked for.
    var extendedStateBytes = ExtendedState.vcpuBytes

    init(first: Thread) {
        (all, holder) = ([first], 0)
        lastNumber = first.number
    }

    var count: Int { all.count }
    var indices: Range<Int> { 0..<all.count }

    subscript(_ index: Int) -> Thread {
        _read { yield all[index] }
        _modify { yield &all[index] }
    }

    /// The thread that is being served.
    var running: Thread {
        _read { yield all[current] }
        _modify { yield &all[current] }
    }

    func index(of number: UInt32) -> Int? { all.firstIndex { $0.number == number } }

    /// Whether a thread other than the one that runs wants to.
    var isAnotherReady: Bool { all.count > 1 && all.indices.contains { $0 != current && all[$0].isReady } }

    /// The thread whose turn it is, behind the one that was served last.
    var next: Int? {
        for offset in 1...all.count {
            let index = (current + offset) % all.count
            if all[index].isReady { return index }
        }
        return nil
    }

    mutating func choose(_ index: Int) { current = index }

    /// The thread that is being served has the vCPU from now on.
    mutating func handOver() { holder = current }

    // MARK: Beginning and ending

    /// A number that no thread has.
    mutating func newNumber() -> UInt32 {
        repeat {
            // The lowest ones are never used again, as on Linux.
            lastNumber = lastNumber + 1 < Self.numberLimit ? lastNumber + 1 : 300
        } while all.contains { $0.number == lastNumber }
        return lastNumber
    }

    mutating func add(_ thread: Thread) { all.append(thread) }

    /// Takes the running thread out, which is not the last one.
    mutating func removeRunning() {
        all.remove(at: current)
        holder = nil
        current = current == 0 ? all.count - 1 : current - 1
    }

    /// Leaves nothing but the running thread, with the first one's number.
    mutating func keepRunning(as thread: Thread) {
        (all, current, holder) = ([thread], 0, 0)
        nextDeadline = .max
    }

    // MARK: Waiting

    /// The running thread waits.
    mutating func park(_ call: WaitingCall) {
        all[current].call = call
        nextDeadline = min(nextDeadline, call.wait.deadline ?? .max)
    }

    mutating func wake(_ index: Int) { all[index].call?.isWoken = true }

    /// Wakes those that wait for one of these.
    mutating func wake(for events: Set<WaitEvent>) {
        for index in all.indices {
            guard let call = all[index].call, !call.isWoken, !call.wait.events.isDisjoint(with: events) else {
                continue
            }
            wake(index)
        }
    }

    /// Wakes those whose deadline has come, and finds the next one.
    mutating func elapse(to now: UInt64) {
        for index in all.indices where (all[index].call?.wait.deadline ?? .max) <= now { wake(index) }
        findNextDeadline()
    }

    mutating func findNextDeadline() {
        nextDeadline = all.reduce(.max) { earliest, thread in
            guard let call = thread.call, !call.isWoken else { return earliest }
            return min(earliest, call.wait.deadline ?? .max)
        }
    }

    mutating func newPlace() -> UInt64 {
        placesGiven += 1
        return placesGiven
    }
}
