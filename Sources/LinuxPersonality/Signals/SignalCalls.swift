// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

extension LinuxProcess {
    /// The size of a `sigset_t`, which calls are told.
    private static var setBytes: UInt64 { 8 }

    private func demandSetSize(_ bytes: UInt64) throws(Errno) {
        guard bytes == Self.setBytes else { throw .einval }
    }

    private mutating func signalSet(at address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> SignalSet {
        SignalSet(bits: try word64(address, memory)).subtracting(.unblockable)
    }

    /// `rt_sigaction`
    mutating func rtSigaction(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try demandSetSize(arguments[3])
        guard let signal = Signal(arguments.int(0)) else { throw .einval }
        let old = signals[signal]
        if arguments[1] != 0 {
            let record = try space.read(arguments[1], count: SignalAction.bytes, memory)
            guard !SignalSet.unblockable.contains(signal) else { throw .einval }
            signals[signal] = SignalAction(record: record)
            if signals[signal].outcome(of: signal) == .ignore { discardSignals(SignalSet(signal)) }
        }
        if arguments[2] != 0 { try space.write(old.record, at: arguments[2], memory) }
        return .zero
    }

    /// `rt_sigprocmask`
    mutating func rtSigprocmask(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try demandSetSize(arguments[3])
        let old = threads.running.mask
        if arguments[1] != 0 {
            let set = try signalSet(at: arguments[1], memory)
            switch arguments.int(0) {
            case 0: threads.running.mask = old.union(set)
            case 1: threads.running.mask = old.subtracting(set)
            case 2: threads.running.mask = set
            default: throw .einval
            }
        }
        if arguments[2] != 0 { try space.writeWord(old.bits, at: arguments[2], memory) }
        return .zero
    }

    /// `rt_sigpending`
    mutating func rtSigpending(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments[1] <= Self.setBytes else { throw .einval }
        let pending = threads.running.pending.set.union(signals.pending.set).intersection(threads.running.mask)
        try put(pending.bits, bytes: Int(arguments[1]), at: arguments[0], memory)
        return .zero
    }

    /// `rt_sigsuspend`: waits for a signal, with other ones blocked than before.
    mutating func rtSigsuspend(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try putMaskInPlace(arguments[0], bytes: arguments[1], memory)
        if arguments[0] == 0 { throw .efault }
        return .wait(Wait(events: [.signal]))
    }

    /// Blocks other signals for as long as the call waits; what was blocked before is again when the thread goes on. Does nothing
    /// without a set, and when the call is served again.
    mutating func putMaskInPlace(
        _ address: UInt64, bytes: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        guard address != 0, threads.running.maskToRestore == nil else { return }
        try demandSetSize(bytes)
        let set = try signalSet(at: address, memory)
        threads.running.maskToRestore = threads.running.mask
        threads.running.mask = set
    }

    /// `rt_sigtimedwait`: takes a signal instead of its handler.
    mutating func rtSigtimedwait(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try demandSetSize(arguments[3])
        let set = try signalSet(at: arguments[0], memory)
        let end = arguments[2] == 0 ? nil : Self.sum(callStarted, try span(at: arguments[2], memory))
        if let info = takeSignal(of: set) {
            if arguments[1] != 0 { try space.write(info.record, at: arguments[1], memory) }
            return .value(UInt64(info.signal.number))
        }
        if isOver(end) { throw .eagain }
        return .wait(Wait(events: [.signal], signals: set, deadline: end))
    }

    /// `sigaltstack`
    mutating func sigaltstack(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let (old, pointer) = (threads.running.stack, threads.running.registers.rsp)
        if arguments[0] != 0 {
            let wanted = AlternateStack(record: try space.read(arguments[0], count: AlternateStack.bytes, memory))
            try threads.running.stack.set(wanted, at: pointer)
        }
        if arguments[1] != 0 {
            let flags = old.state(at: pointer) | old.flags & AlternateStack.autoDisarm
            try space.write(old.record(flags: flags), at: arguments[1], memory)
        }
        return .zero
    }

    // MARK: Sending

    /// `kill`: there is one process, which is a group of its own.
    mutating func kill(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        let signal = try signalOrNone(arguments.int(1))
        // -1 is everybody else.
        guard arguments.int(0) == 0 || UInt64(arguments.uint(0)) == Self.number else { throw .esrch }
        if let signal { try send(SignalInfo(fromItself: signal), to: nil) }
        return .zero
    }

    /// `tkill`, and `tgkill` behind its first argument.
    mutating func tkill(_ number: Int32, _ signal: Int32) throws(Errno) -> CallEnd {
        guard number > 0 else { throw .einval }
        let signal = try signalOrNone(signal)
        guard let index = threads.index(of: UInt32(number)) else { throw .esrch }
        if let signal { try send(SignalInfo(fromItself: signal, .thread), to: index) }
        return .zero
    }

    mutating func tgkill(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        guard arguments.int(0) > 0 else { throw .einval }
        guard UInt64(arguments.uint(0)) == Self.number else { throw .esrch }
        return try tkill(arguments.int(1), arguments.int(2))
    }

    /// `rt_sigqueueinfo`, `rt_tgsigqueueinfo`: the process can tell itself anything.
    mutating func sigqueueinfo(
        to thread: Int32?, _ number: Int32, _ address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let record = try space.read(address, count: SignalInfo.bytes, memory)
        let index = try thread.map { number throws(Errno) -> Int in
            guard number > 0 else { throw .einval }
            guard let index = threads.index(of: UInt32(number)) else { throw .esrch }
            return index
        }
        guard let signal = try signalOrNone(number) else { return .zero }
        try send(SignalInfo(signal, record: record), to: index)
        return .zero
    }

    /// nil for 0, which only asks whether a signal could be sent.
    private func signalOrNone(_ number: Int32) throws(Errno) -> Signal? {
        guard number != 0 else { return nil }
        guard let signal = Signal(number) else { throw .einval }
        return signal
    }

    // MARK: The table

    mutating func performOnSignals(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .rtSigaction: return try rtSigaction(arguments, memory)
        case .rtSigprocmask: return try rtSigprocmask(arguments, memory)
        case .rtSigreturn: return .onProcessor(.returnFromSignal)
        case .rtSigpending: return try rtSigpending(arguments, memory)
        case .rtSigsuspend: return try rtSigsuspend(arguments, memory)
        case .rtSigtimedwait: return try rtSigtimedwait(arguments, memory)
        case .sigaltstack: return try sigaltstack(arguments, memory)
        case .pause: return .wait(Wait(events: [.signal]))
        case .kill: return try kill(arguments)
        case .tkill: return try tkill(arguments.int(0), arguments.int(1))
        case .tgkill: return try tgkill(arguments)
        case .rtSigqueueinfo:
            guard UInt64(arguments.uint(0)) == Self.number else { throw .esrch }
            return try sigqueueinfo(to: nil, arguments.int(1), arguments[2], memory)
        case .rtTgsigqueueinfo:
            guard UInt64(arguments.uint(0)) == Self.number else { throw .esrch }
            return try sigqueueinfo(to: arguments.int(1), arguments.int(2), arguments[3], memory)
        default: return try performOnTimers(call, arguments, memory)
        }
    }
}

extension SignalAction {
    /// A `struct sigaction`.
    init(record: [UInt8]) {
        let word: (Int) -> UInt64 = { GuestRecord.word(record, at: $0 * 8) }
        handler = word(0)
        flags = Flags(rawValue: word(1)).intersection(.known)
        restorer = word(2)
        mask = SignalSet(bits: word(3)).subtracting(.unblockable)
    }
}

extension SignalInfo {
    /// A `siginfo_t` that a program sends, less what no signal has.
    init(_ signal: Signal, record: [UInt8]) {
        let code = Int32(truncatingIfNeeded: GuestRecord.word(record, at: 8, count: 4))
        self.init(signal, Code(value: code))
        errorNumber = Int32(truncatingIfNeeded: GuestRecord.word(record, at: 4, count: 4))
        for index in fields.indices { fields[index] = GuestRecord.word(record, at: 16 + index * 8) }
    }
}
