// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobScheduling
internal import KVM
internal import NIOCore
internal import VMRuntime

/// One accepted job, from acceptance to the moment its result has been given to its connection. Confined to the event loop.
final class ActiveJob {
    /// The connection that it belongs to; nil once that is gone, and of a detached job.
    weak var connection: Connection?
    /// Whether it belongs to no connection, and what it writes is kept.
    let isDetached: Bool
    /// Of a detached job: whether it is stopped to be run again later.
    var isGivenUp = false
    let key: JobKey
    let peer: Peer
    /// Its number on that connection.
    let number: UInt32
    let title: JobTitle
    let memoryBytes: UInt64
    let mode: GuestMode
    let priority: UInt8
    /// The most nanoseconds that it waits, and when that is over.
    let waitLimit: UInt64?
    var waitEnd: Scheduled<Void>?
    /// What the slot will run; nil once it has it.
    var admitted: AdmittedJob?
    /// The snapshot that it starts from, until it has ended.
    var snapshotUse: SnapshotStore<Snapshot>.Use?
    let control: JobControl
    /// Instants of ``MonotonicClock``.
    let acceptedAt = MonotonicClock.now
    var startedAt: UInt64?
    var gate = OutputGate()
    /// Whether nobody can extend it any more.
    var isFinal = false
    /// While it is paused: when its machine has been kept long enough.
    var keepEnd: Scheduled<Void>?
    /// By how many steps it was extended, until it goes on.
    var moreSteps: UInt64 = 0
    /// The result, while output in front of it waits for credit.
    var held: HeldResult?

    /// Apart, as few jobs have one and it is large.
    final class HeldResult {
        let result: JobResult
        init(_ result: JobResult) { self.result = result }
    }

    /// A job of a connection, or for nil a detached one.
    init(
        _ key: JobKey, number: UInt32 = 0, of connection: Connection?, peer: Peer, spec: JobSpec,
        prepared: Dispatcher.PreparedJob
    ) {
        (self.key, self.number, self.connection, self.peer) = (key, number, connection, peer)
        isDetached = connection == nil
        (title, memoryBytes, mode) = (JobTitle(spec), prepared.memoryBytes, prepared.mode)
        (priority, waitLimit) = (spec.priority, spec.waitLimit)
        (admitted, snapshotUse) = (prepared.job, prepared.use)
        control = JobControl(hasInput: spec.hasInput)
    }

    /// Whether anybody takes what it writes.
    var hasReader: Bool { isDetached || connection != nil }

    var queueNanoseconds: UInt64 { (startedAt ?? MonotonicClock.now) - acceptedAt }

    /// Gives the guest as much of the client's credit as it may have now.
    func grant() {
        let credit = gate.grant()
        if credit > 0 { control.grantOutput(credit) }
    }

    func stopWaiting() {
        waitEnd?.cancel()
        waitEnd = nil
    }

    func stopKeeping() {
        keepEnd?.cancel()
        keepEnd = nil
    }
}
