// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// What the owner of a ``ClientSession`` has to do or to know next, in the order of the list.
public enum ClientAction: Sendable {
    /// Write these bytes to the connection.
    case send([UInt8])
    /// The worker has not got the job's image, or not all of its layers: pull ``ClientSession/nextImageFrame(_:)``.
    case imageWanted(job: UInt32)
    /// The worker's HELLO came and is answered: from here on payloads may be as long as this side's HELLO said.
    case ready(WorkerTerms)
    /// A RESULT will follow; of a detached job nothing will, and the worker has it.
    case accepted(job: UInt32, Acceptance)
    /// The job will not run; nothing more follows for it.
    case refused(job: UInt32, ErrorReport)
    /// The guest is about to run.
    case started(job: UInt32, Started)
    /// Bytes from the guest. Call ``ClientSession/grantOutput(_:_:)`` when they are used.
    case output(job: UInt32, OutputChannel, [UInt8])
    /// The job has used up its steps: answer with ``ClientSession/extend(_:steps:)``.
    case paused(job: UInt32, Pause)
    /// The end of the job; nothing more follows for it.
    case finished(job: UInt32, JobResult)
    /// All input that was queued is on its way; more can be given.
    case inputDrained(job: UInt32)
    /// The worker knows the detached job. Its output and its result follow, or ``left(job:_:)``.
    case attached(job: UInt32, Attached)
    /// The worker tells nothing more of the attached job, which goes on; nothing more follows for this number.
    case left(job: UInt32, LeaveReason)
    /// The answer to the oldest ``ClientSession/query(_:)`` that has none.
    case answered(Answer)
    /// The answer to the oldest ``ClientSession/stop(_:)`` that has none.
    case stopped(StopAnswer)
    /// The worker takes no more jobs.
    case goAway(GoAway)
    /// The worker could not take what this side sent. It reads nothing more; results of accepted jobs may still come.
    case workerFailed(ErrorReport)
    /// What the worker sent makes no sense: read nothing more, and close when all bytes are written. Every job that is
    /// still there follows as ``lost(job:)``.
    case protocolFailed(WireError)
    /// The connection ended before the job did.
    case lost(job: UInt32)
}
