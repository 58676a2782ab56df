// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The kinds of event that programs look for in the journal. Each has one fixed 128-bit id, its `MESSAGE_ID`, that never
/// changes and is never used for another kind: `journalctl MESSAGE_ID=…`.
public enum EventID: String, Sendable, Hashable, CaseIterable {
    /// The worker takes jobs.
    case workerReady = "worker-ready"
    /// The worker takes no new jobs and ends the accepted ones.
    case workerDraining = "worker-draining"
    /// The worker is about to exit.
    case workerStopped = "worker-stopped"
    /// The worker cannot start, or gave up.
    case workerFailed = "worker-failed"
    /// A submission became a job, which waits for a slot or runs.
    case jobAccepted = "job-accepted"
    /// An accepted job has its result.
    case jobFinished = "job-finished"
    /// How many jobs have ended since the last such record.
    case jobSummary = "job-summary"
    /// A submission was turned down before acceptance.
    case jobRefused = "job-refused"
    /// A connection ended because its peer broke the protocol, or for an error of the transport.
    case connectionError = "connection-error"
    /// The store of detached jobs did not do what it was asked to.
    case storeError = "store-error"
    /// Log records were lost because the queue was full or the journal did not take them.
    case recordsDropped = "records-dropped"

    /// The journal's `MESSAGE_ID`: 32 lower-case hexadecimal digits.
    public var messageID: String {
        switch self {
        case .workerReady: "25830d75ee35494bb548d67ca635468d"
        case .workerDraining: "01157ea5396d436a828aa19a780a5200"
        case .workerStopped: "3217365e69064e3392b701e4aa7623f0"
        case .workerFailed: "59bef370b0754c7d939626abf6f0c5d1"
        case .jobAccepted: "2ec62bfadcc54d4194d7de6e52b0bc24"
        case .jobFinished: "f5de9ba978ad48b082ca091f1a4aa676"
        case .jobSummary: "8552603f126348f9bd0e7cbd605c1460"
        case .jobRefused: "ecb1957ea55742db9fb9ef4a46edf91a"
        case .connectionError: "567fad95272d4c7a9f42abd636a0eb98"
        case .storeError: "3875429468d54c2e997027375414d1e9"
        case .recordsDropped: "5b9a142b3f1f493e83538049e5094be7"
        }
    }
}
