// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// A submission that is kept outside a connection, as the payload of its SUBMIT frame.
extension Submit {
    /// The payload of the frame.
    public var stored: [UInt8] { Array(frame(job: Self.anyJob).payload) }

    /// What such a payload says.
    ///
    /// - Throws: what a worker would say of the frame.
    public init(stored payload: [UInt8]) throws(WireError) {
        try self.init(Frame(.submit, job: Self.anyJob, payload: payload))
    }

    /// The job that it describes, with defaults filled in; nil for a mode that this program does not know.
    public var knownSpec: JobSpec? { GuestMode(rawValue: mode).map { spec(mode: $0) } }

    /// A payload does not tell of which job it is.
    private static var anyJob: UInt32 { 1 }
}
