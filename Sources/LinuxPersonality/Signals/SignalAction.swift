// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a program wants to come of a signal: the kernel's `struct sigaction`.
struct SignalAction: Sendable, Hashable {
    /// Its size in memory.
    static let bytes = 32

    /// The handler's address, or ``asUsual`` or ``ignored``.
    var handler: UInt64 = asUsual
    var flags: Flags = []
    /// Where the handler returns to: code that calls `rt_sigreturn`.
    var restorer: UInt64 = 0
    /// What is blocked while the handler runs, beside the signal itself.
    var mask = SignalSet()

    /// `SIG_DFL`
    static let asUsual: UInt64 = 0
    /// `SIG_IGN`
    static let ignored: UInt64 = 1

    /// `SA_*`
    struct Flags: OptionSet, Sendable, Hashable {
        let rawValue: UInt64

        static let noChildStop = Flags(rawValue: 1)
        static let noChildWait = Flags(rawValue: 2)
        static let information = Flags(rawValue: 4)
        static let exposeTagBits = Flags(rawValue: 0x800)
        static let restorer = Flags(rawValue: 0x0400_0000)
        static let onStack = Flags(rawValue: 0x0800_0000)
        static let restart = Flags(rawValue: 0x1000_0000)
        static let noDefer = Flags(rawValue: 0x4000_0000)
        static let resetHandler = Flags(rawValue: 0x8000_0000)

        /// What the kernel knows; it forgets all else.
        static let known: Flags = [
            .noChildStop, .noChildWait, .information, .exposeTagBits, .restorer, .onStack, .restart, .noDefer,
            .resetHandler,
        ]
    }

    /// What comes of the signal that it is for.
    enum Outcome: Sendable { case ignore, terminate, stop, handle }

    func outcome(of signal: Signal) -> Outcome {
        switch handler {
        case Self.ignored: .ignore
        case Self.asUsual:
            switch signal.defaultAction {
            case .ignore: .ignore
            case .terminate: .terminate
            case .stop: .stop
            }
        default: .handle
        }
    }

    var record: [UInt8] {
        var record = GuestRecord()
        for word in [handler, flags.rawValue, restorer, mask.bits] { record.append(word) }
        return record.bytes
    }
}

/// What a process has of signals beside what its threads have.
struct ProcessSignals: Sendable {
    private var actions = [SignalAction](repeating: SignalAction(), count: Signal.count)
    /// Sent to the process: any thread may take them.
    var pending = PendingSignals()
    /// `SIGSTOP` came: nothing goes on, since nobody is there to send `SIGCONT`.
    var isStopped = false

    subscript(_ signal: Signal) -> SignalAction {
        get { actions[Int(signal.number) - 1] }
        set { actions[Int(signal.number) - 1] = newValue }
    }

    /// Those of some of which nothing comes.
    func ignored(of signals: SignalSet) -> SignalSet {
        var (rest, ignored) = (signals, SignalSet())
        while let signal = rest.first {
            rest.remove(signal)
            if self[signal].outcome(of: signal) == .ignore { ignored.insert(signal) }
        }
        return ignored
    }

    /// As `execve` leaves them: there are no handlers any more.
    mutating func forgetHandlers() {
        for index in actions.indices {
            actions[index] = SignalAction(
                handler: actions[index].handler == SignalAction.ignored ? SignalAction.ignored : SignalAction.asUsual)
        }
    }
}
