// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// The process's standard streams, as the run loop fills and empties them.
extension LinuxProcess {
    /// Whether the program wants more standard input than it has been given.
    public var wantsInput: Bool { standardInput.count == 0 && !standardInput.hasEnded }

    /// Gives it standard input.
    public mutating func supply(_ bytes: some Sequence<UInt8>, isEnd: Bool) {
        standardInput.append(bytes)
        if isEnd { standardInput.end() }
        threads.wake(for: [.standardInput])
    }

    /// Forgets what belonged to the job in which the process came to where it is: its input, and what was counted. The bytes that it found
    /// on its stack at the start are its own by now.
    public mutating func leaveJob() {
        (standardInput, counts, startRandomAddress) = (InputBuffer(), Counts(), nil)
    }

    /// Whether descriptor 0 is standard input, so that reading it is nothing but taking the next bytes.
    public var readsInputAtDescriptor0: Bool {
        guard let number = files.table[0]?.file, let file = files.open[number] else { return false }
        return file.kind == .standardInput && file.flags.canRead
    }

    /// How many bytes of input the program has read.
    public var readInputBytes: UInt64 { standardInput.readBytes }

    /// The next bytes of input, at most so many. They stay.
    public func nextInput(_ limit: Int) -> ArraySlice<UInt8> { standardInput.peek(limit) }

    /// The program has read so many bytes by itself.
    public mutating func dropInput(_ count: Int) { standardInput.drop(min(count, standardInput.count)) }

    /// Whether there is anything for ``takeOutgoing()``.
    public var hasOutgoing: Bool { !outbox.isEmpty }

    /// Takes what the program has written to its standard streams, in order.
    public mutating func takeOutgoing() -> [Outgoing] {
        defer { outbox = [] }
        return outbox
    }
}
