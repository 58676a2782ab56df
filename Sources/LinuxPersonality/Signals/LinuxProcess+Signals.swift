// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// Sending signals, and taking them.
extension LinuxProcess {
    // MARK: Sending

    /// Sends a signal, if anything comes of it.
    ///
    /// - Parameter index: which thread gets it; nil for any that does not block it.
    /// - Throws: EAGAIN for a real-time signal with a value when too many are pending.
    mutating func send(_ info: SignalInfo, to index: Int?) throws(Errno) {
        // It ends the whole process, whoever gets it.
        let index = info.signal == .kill ? nil : index
        if info.signal == .resume { signals.isStopped = false }
        let isBlocked = threads[index ?? 0].mask.contains(info.signal)
        guard isBlocked || signals[info.signal].outcome(of: info.signal) != .ignore else { return }
        let hasRoom = queuedSignals < PendingSignals.limit
        guard hasRoom || !info.signal.queues || info.code == .user else { throw .eagain }
        if let index {
            threads[index].pending.add(info, hasRoom: hasRoom)
            if isAwaited(info.signal, by: index) { threads.wake(index) }
        } else {
            signals.pending.add(info, hasRoom: hasRoom)
            if let index = threads.indices.first(where: { isAwaited(info.signal, by: $0) }) { threads.wake(index) }
        }
    }

    private var queuedSignals: Int {
        threads.indices.reduce(signals.pending.queued) { $0 + threads[$1].pending.queued }
    }

    /// Whether a thread would take such a signal now; one that does not wait takes it when it goes on.
    private func isAwaited(_ signal: Signal, by index: Int) -> Bool {
        guard threads[index].mask.contains(signal) else { return true }
        return threads[index].call?.wait.signals.contains(signal) ?? false
    }

    /// Drops signals that are pending and of which nothing comes any more.
    mutating func discardSignals(_ set: SignalSet) {
        signals.pending.discard(set)
        for index in threads.indices { threads[index].pending.discard(set) }
    }

    // MARK: Taking

    /// Whether the running thread has any to take.
    var hasSignals: Bool {
        (threads.running.pending.set.bits | signals.pending.set.bits) & ~threads.running.mask.bits != 0
    }

    /// Whether a signal ends the call that the running thread would wait in.
    mutating func isInterrupted() -> Bool {
        guard hasSignals else { return false }
        let unblocked = SignalSet(bits: ~threads.running.mask.bits)
        let pending = threads.running.pending.set.union(signals.pending.set).intersection(unblocked)
        let ignored = signals.ignored(of: pending)
        threads.running.pending.discard(ignored)
        signals.pending.discard(ignored)
        return hasSignals
    }

    /// Takes the first of some signals that the running thread can get.
    mutating func takeSignal(of set: SignalSet) -> SignalInfo? {
        threads.running.pending.take(of: set) ?? signals.pending.take(of: set)
    }

    private mutating func nextSignal() -> SignalInfo? {
        hasSignals ? takeSignal(of: SignalSet(bits: ~threads.running.mask.bits)) : nil
    }

    /// Does what is to be done about signals before the running thread goes on. The vCPU holds its registers.
    ///
    /// - Parameter forced: one that the thread brought about itself and cannot go on without.
    /// - Returns: how the process ends, if it does.
    mutating func takeSignals(
        _ forced: SignalInfo?, on processor: any GuestProcessor, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> ProcessEnd? {
        var next = forced.map { force($0) } ?? nextSignal()
        while let info = next {
            switch signals[info.signal].outcome(of: info.signal) {
            case .ignore: next = nextSignal()
            case .terminate: return .killed(signal: info.signal.number, fault: info.fault)
            case .stop:
                signals.isStopped = true
                next = nextSignal()
            case .handle:
                next = try enterHandler(of: info, on: processor, memory) ? nextSignal() : frameFailed(for: info)
            }
        }
        // Where no handler runs, a call that was interrupted begins again.
        if let call = threads.running.interrupted { repeatCall(call) }
        restoreMask()
        return nil
    }

    /// A signal that cannot be put off: if it is blocked or ignored, its handler is forgotten, which ends the process.
    private mutating func force(_ info: SignalInfo) -> SignalInfo {
        let isIgnored = signals[info.signal].handler == SignalAction.ignored
        if isIgnored || threads.running.mask.contains(info.signal) { signals[info.signal] = SignalAction() }
        threads.running.mask.remove(info.signal)
        return info
    }

    /// What follows when a handler's frame cannot be written.
    private mutating func frameFailed(for info: SignalInfo) -> SignalInfo {
        if info.signal == .segmentation { signals[.segmentation] = SignalAction() }
        return force(SignalInfo(.segmentation, .kernel, fault: info.fault))
    }

    /// What a call blocked in the meantime is as before when it has ended, unless a signal has ended it.
    mutating func restoreMask() {
        guard let mask = threads.running.maskToRestore, threads.running.interrupted == nil else { return }
        threads.running.mask = mask
        threads.running.maskToRestore = nil
    }

    // MARK: Calls that signals end

    /// Ends the call that the running thread waits in; what its program finds depends on the handler.
    mutating func interrupt(_ call: SystemCall, _ wait: Wait, _ memory: borrowing GuestMemory) {
        threads.running.futex = nil
        threads.running.interrupted = call
        threads.running.registers.rax = Errno.eintr.returnValue
        guard let address = Self.restOfSleep(call, CallArguments(threads.running.registers)), address != 0 else {
            return
        }
        let rest = (wait.deadline ?? 0) - min(wait.deadline ?? 0, moment.monotonic)
        do throws(Errno) {
            var record = GuestRecord()
            record.append(rest / 1_000_000_000)
            record.append(rest % 1_000_000_000)
            try space.write(record.bytes, at: address, memory)
        } catch {
            threads.running.registers.rax = error.returnValue
        }
    }

    /// Where a sleep that is cut short leaves the time that was left.
    private static func restOfSleep(_ call: SystemCall, _ arguments: CallArguments) -> UInt64? {
        switch call {
        case .nanosleep: arguments[1]
        case .clockNanosleep: arguments.uint(1) & 1 == 0 ? arguments[3] : nil
        default: nil
        }
    }

    /// Whether a call begins again behind a handler with `SA_RESTART`: all that would not wait for longer than was asked for.
    static func isRestarted(_ call: SystemCall, _ arguments: CallArguments) -> Bool {
        switch call {
        case .read, .readv, .preadv2, .write, .writev, .pwritev2, .sendfile, .splice, .fcntl, .flock, .open, .openat,
            .sendto, .recvfrom,
            .sendmsg, .recvmsg:
            true
        case .futex: arguments[3] == 0
        default: false
        }
    }

    /// Lets the thread execute its SYSCALL once more.
    mutating func repeatCall(_ call: SystemCall) {
        threads.running.interrupted = nil
        threads.running.registers.rax = call.rawValue
        // The instruction has two bytes.
        threads.running.registers.rip &-= 2
    }
}
