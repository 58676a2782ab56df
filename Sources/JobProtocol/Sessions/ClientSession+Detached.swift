// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

extension ClientSession {
    /// Asks for a detached job's output and result, or returns nil while ``canSubmit`` is false. ``ClientAction/attached(job:_:)``
    /// follows, then output from where the request says; or the request is refused, here if no ATTACH can say it.
    public mutating func attach(_ request: AttachRequest) -> (job: UInt32, actions: [ClientAction])? {
        guard canSubmit else { return nil }
        highestJob += 1
        if let refusal = request.wireRefusal {
            return (highestJob, [.refused(job: highestJob, ErrorReport(refusal, of: .attach))])
        }
        jobs[highestJob] = ClientJob(attaching: request, outputWindow: hello.window)
        return (highestJob, [.send(Message.attach(job: highestJob, request).encode())])
    }

    /// Lets go of an attached job, which goes on; ``ClientAction/left(job:_:)`` follows unless its result comes first. Does nothing for
    /// any other job.
    public mutating func leave(_ job: UInt32) -> [ClientAction] {
        guard phase == .open, let stage = jobs[job]?.stage, [.attaching, .attached].contains(stage) else { return [] }
        return [.send(Message.leave(job: job).encode())]
    }

    mutating func takeAttached(_ job: UInt32, _ attached: Attached) throws(WireError) -> [ClientAction] {
        try advance(job, .attached, from: [.attaching], to: .attached)
        return [.attached(job: job, attached)]
    }

    mutating func takeLeft(_ job: UInt32, _ reason: LeaveReason) throws(WireError) -> [ClientAction] {
        try advance(job, .left, from: [.attaching, .attached])
        jobs[job] = nil
        return [.left(job: job, reason)]
    }
}
