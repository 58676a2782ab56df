// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// What the owner of a ``ServerSession`` has to do next, in the order of the list.
public enum ServerAction: Sendable, Hashable {
    /// Write these bytes to the connection.
    case send([UInt8])
    /// Write these bytes to the connection, and call ``ServerSession/answerWritten()`` when it has taken them.
    case sendAnswer([UInt8])
    /// Answer this with ``ServerSession/answer(_:)``, now or later. Until it is answered and the answer written, nothing more is asked.
    case query(Query)
    /// Stop these jobs, as far as the client's user may, and answer with ``ServerSession/stopAnswered(_:)``.
    case stop(StopRequest)
    /// Look for the image of so many bytes that this client's user has submitted with this digest before, and answer at once,
    /// before the session is given anything else, with ``ServerSession/imageFound(_:_:)`` or ``ServerSession/imageWanted(_:)``.
    case lookUp(job: UInt32, digest: ContentDigest, bytes: UInt64)
    /// Look for the layers that this client's user has submitted before with these digests and lengths, and answer at once, before the
    /// session is given anything else, with ``ServerSession/layersFound(_:_:)``.
    case lookUpLayers(job: UInt32, [ProgramSpec.Layer])
    /// Judge this job, whose image is complete, and answer with ``ServerSession/accepted(_:_:snapshotMemoryBytes:)`` or
    /// ``ServerSession/refused(_:_:)``. Credit and input for it follow in the same list; after a refusal they mean nothing.
    /// A detached job's input is complete too, at ``ServerSession/input(of:)``: neither credit nor input follows for it.
    /// An image that has a digest has been compared with it. Of a job from a snapshot, what the spec says of the start means nothing.
    indirect case submit(job: UInt32, spec: JobSpec, source: JobSource)
    /// The job may stream this many bytes of output more.
    case credit(job: UInt32, bytes: Int)
    /// Bytes for the guest to read; `end` says that no more will come.
    case input(job: UInt32, bytes: [UInt8], end: Bool)
    /// Stop the job; its result is still wanted.
    case cancel(job: UInt32, Canceller)
    /// Continue the paused job with this many steps more, any number; with 0 end it. Means nothing for a job that is about
    /// to end: the EXTEND crossed its end, or a cancel came before.
    case extend(job: UInt32, steps: UInt64)
    /// Look for this detached job of the client's user, and answer, now or later, with ``ServerSession/attached(_:state:)`` or
    /// ``ServerSession/refused(_:_:)``. Credit for its output follows in the same list.
    case attach(job: UInt32, AttachRequest)
    /// Tell no more of this attached job, which goes on, and say so with ``ServerSession/left(_:_:)``; it means nothing for one that is
    /// not attached any more.
    case leave(job: UInt32)
    /// Read nothing more from the connection; jobs go on and their bytes are still to be written.
    case stopReading
    /// Everything is said: close the connection when all bytes are written.
    case close
}
