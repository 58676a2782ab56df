// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A signal, by its number: 1 to 64.
struct Signal: Sendable, Hashable {
    /// How many there are; numbers from 32 on are real-time signals, which queue.
    static let count = 64

    let number: UInt8

    /// nil for what is no signal's number.
    init?(_ number: Int32) {
        guard (1...Int32(Self.count)).contains(number) else { return nil }
        self.number = UInt8(number)
    }

    fileprivate init(known number: UInt8) { self.number = number }

    static let hangUp = Signal(known: 1)
    static let interrupt = Signal(known: 2)
    static let illegal = Signal(known: 4)
    static let trap = Signal(known: 5)
    static let abort = Signal(known: 6)
    static let bus = Signal(known: 7)
    static let arithmetic = Signal(known: 8)
    static let kill = Signal(known: 9)
    static let user1 = Signal(known: 10)
    static let segmentation = Signal(known: 11)
    static let user2 = Signal(known: 12)
    static let pipe = Signal(known: 13)
    static let alarm = Signal(known: 14)
    static let terminate = Signal(known: 15)
    static let child = Signal(known: 17)
    static let resume = Signal(known: 18)
    static let stop = Signal(known: 19)
    static let urgent = Signal(known: 23)

    var queues: Bool { number >= 32 }

    /// What comes of it where the program says nothing.
    enum DefaultAction: Sendable { case terminate, ignore, stop }

    var defaultAction: DefaultAction {
        switch number {
        // SIGCHLD, SIGCONT, SIGURG, SIGWINCH
        case 17, 18, 23, 28: .ignore
        case 19: .stop
        // SIGTSTP, SIGTTIN, SIGTTOU: the process's group has no parent that could let it go on, and Linux stops no such group.
        case 20, 21, 22: .ignore
        default: .terminate
        }
    }
}

/// A set of signals, as the kernel's 64-bit `sigset_t` has it: signal 1 is the lowest bit.
struct SignalSet: Sendable, Hashable {
    var bits: UInt64 = 0

    init() {}
    init(bits: UInt64) { self.bits = bits }
    init(_ signals: Signal...) { for signal in signals { insert(signal) } }

    /// What can be neither blocked, ignored nor handled.
    static let unblockable = SignalSet(.kill, .stop)
    /// What the instruction that is being executed brings about, which is taken before all else.
    static let synchronous = SignalSet(.segmentation, .bus, .illegal, .trap, .arithmetic, Signal(known: 31))

    var isEmpty: Bool { bits == 0 }

    func contains(_ signal: Signal) -> Bool { bits >> UInt64(signal.number - 1) & 1 != 0 }
    mutating func insert(_ signal: Signal) { bits |= 1 << UInt64(signal.number - 1) }
    mutating func remove(_ signal: Signal) { bits &= ~(1 << UInt64(signal.number - 1)) }

    func union(_ other: SignalSet) -> SignalSet { SignalSet(bits: bits | other.bits) }
    func subtracting(_ other: SignalSet) -> SignalSet { SignalSet(bits: bits & ~other.bits) }
    func intersection(_ other: SignalSet) -> SignalSet { SignalSet(bits: bits & other.bits) }

    /// The one that is taken first.
    var first: Signal? {
        let urgent = intersection(.synchronous)
        let set = urgent.isEmpty ? self : urgent
        return set.isEmpty ? nil : Signal(Int32(set.bits.trailingZeroBitCount) + 1)
    }
}
