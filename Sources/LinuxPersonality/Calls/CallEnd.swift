// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// How a system call that did not fail ends, for now. One that fails throws its ``Errno``.
enum CallEnd: Sendable, Hashable {
    /// The thread goes on with this in RAX.
    case value(UInt64)
    /// The thread cannot go on yet. When one of these may have come about the same call is served again, from its beginning.
    case wait(Wait)
    /// The thread goes on when this has been done with its registers.
    case onProcessor(ProcessorTask)
    /// The thread goes on with 0 in RAX, when all others had their turn.
    case yield
    /// The thread is no more.
    case threadOver
    /// The process is over.
    case over(ProcessEnd)

    static var zero: CallEnd { .value(0) }

    static func value(_ count: Int) -> CallEnd { .value(UInt64(count)) }
}

/// What a call does to registers that only the vCPU has.
enum ProcessorTask: Sendable, Hashable {
    /// Makes a thread that goes on like this one.
    case clone(CloneRequest)
    /// Takes all registers from the frame of a signal's handler.
    case returnFromSignal
    /// Sets FS.base or GS.base.
    case setBase(SegmentBase, UInt64)
    /// Stores FS.base or GS.base at an address.
    case storeBase(SegmentBase, at: UInt64)
    /// Begins a program that has just been loaded.
    case begin(LinuxProcess.Start)
}

/// A segment's base that programs use.
enum SegmentBase: Sendable { case fs, gs }

/// What a thread waits for.
struct Wait: Sendable, Hashable {
    /// Any of these lets it go on.
    var events: Set<WaitEvent>
    /// So does one of these signals, though it is blocked.
    var signals = SignalSet()
    /// Or this instant, in nanoseconds of the guest's monotonic clock; the call is served again with
    /// ``LinuxProcess/hasTimedOut`` then.
    var deadline: UInt64?
}

/// What a waiting thread may be woken by.
enum WaitEvent: Sendable, Hashable {
    /// Standard input has more bytes, or has ended.
    case standardInput
    /// Something was read from, written to or closed at this pipe, event counter or the like.
    case object(ObjectNumber)
    /// A signal came for the thread.
    case signal
}

/// Names something that threads wait for as long as the process lives.
struct ObjectNumber: Sendable, Hashable {
    var value: UInt64
}
