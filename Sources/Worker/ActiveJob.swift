// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobScheduling
internal import VMRuntime

/// One accepted job, from acceptance to the moment its result has been given to its connection.
struct ActiveJob {
    /// The connection that it belongs to; nil once that is gone.
    weak var connection: Connection?
    let peer: Peer
    /// Its number on that connection.
    let number: UInt32
    let label: String
    /// What the slot will run; nil once it has it.
    var admitted: AdmittedJob?
    let control: JobControl
    let acceptedAt: ContinuousClock.Instant
    var startedAt: ContinuousClock.Instant?
    var gate = OutputGate()
    /// The result, while output in front of it waits for credit.
    var heldResult: JobResult?

    var queueNanoseconds: UInt64 { ((startedAt ?? .now) - acceptedAt).wholeNanoseconds }
}
