// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What a handler is told of a signal: `siginfo_t`.
struct SignalInfo: Sendable {
    /// The size of the kernel's `siginfo_t`.
    static let bytes = 128

    var signal: Signal
    var code: Code
    var errorNumber: Int32 = 0
    /// What the code calls for, from offset 16 on: an address, or who sent it and a value.
    var fields: [4 of UInt64]
    /// The exception that it came of.
    var fault: Fault?

    /// `si_code`.
    struct Code: Sendable, Hashable {
        var value: Int32

        /// `kill`
        static let user = Code(value: 0)
        /// The kernel, for no reason of its own.
        static let kernel = Code(value: 0x80)
        /// `sigqueue`
        static let queue = Code(value: -1)
        /// `timer_settime`
        static let timer = Code(value: -2)
        /// `tkill`, `tgkill`
        static let thread = Code(value: -6)
    }

    init(_ signal: Signal, _ code: Code, _ first: UInt64 = 0, _ second: UInt64 = 0, fault: Fault? = nil) {
        (self.signal, self.code, self.fault) = (signal, code, fault)
        fields = [first, second, 0, 0]
    }

    /// One that the process sent itself.
    init(fromItself signal: Signal, _ code: Code = .user) {
        self.init(signal, code, LinuxProcess.number | UInt64(ProcessFiles.user) << 32)
    }

    /// The bytes that a handler finds.
    var record: [UInt8] {
        var record = GuestRecord()
        record.append(UInt32(signal.number))
        record.append(UInt32(bitPattern: errorNumber))
        record.append(UInt32(bitPattern: code.value))
        record.append(0 as UInt32)
        for index in fields.indices { record.append(fields[index]) }
        record.pad(to: Self.bytes)
        return record.bytes
    }
}

/// Signals that were sent and not taken yet, of a thread or of the whole process.
struct PendingSignals: Sendable {
    /// The most signals with their particulars that a process may have pending: 1024, its `RLIMIT_SIGPENDING`.
    static let limit = 1024

    private(set) var set = SignalSet()
    private var queue: [SignalInfo] = []

    /// How many have particulars.
    var queued: Int { queue.count }

    /// - Parameter hasRoom: whether its particulars may be kept; without them it is one by `kill`.
    mutating func add(_ info: SignalInfo, hasRoom: Bool) {
        if set.contains(info.signal), !info.signal.queues || !hasRoom { return }
        set.insert(info.signal)
        if hasRoom { queue.append(info) }
    }

    /// Takes the first one of some.
    mutating func take(of wanted: SignalSet) -> SignalInfo? {
        guard let signal = set.intersection(wanted).first else { return nil }
        guard let index = queue.firstIndex(where: { $0.signal == signal }) else {
            set.remove(signal)
            return SignalInfo(signal, .user)
        }
        let info = queue.remove(at: index)
        if !queue.contains(where: { $0.signal == signal }) { set.remove(signal) }
        return info
    }

    mutating func discard(_ signals: SignalSet) {
        guard !set.intersection(signals).isEmpty else { return }
        set = set.subtracting(signals)
        queue.removeAll { signals.contains($0.signal) }
    }
}
