// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import VMRuntime

/// What `kvmjob doctor` found out.
struct DoctorReport: Sendable {
    /// This machine's KVM, as this user may use it.
    var kvm: KVMFinding
    /// Where `kvmjob submit` would send its jobs.
    var worker: WorkerFinding

    /// Whether `kvmjob submit` would run a job.
    var canRunJobs: Bool {
        switch (worker, kvm) {
        case (.reachable(_, let terms), _): !terms.modes.isEmpty
        case (.unreachable, _), (.embedded, .unusable): false
        case (.embedded, .usable(let findings)): findings.modes.contains { $0.runs }
        }
    }
}

/// KVM, or why not.
enum KVMFinding: Sendable {
    /// What is wrong, and what to do about it.
    case unusable(String)
    case usable(KVMFindings)
}

/// What a usable KVM does.
struct KVMFindings: Sendable {
    /// `KVM_GET_API_VERSION`.
    var version: Int32
    /// Every capability that kvmjob has a use for; `value` is `KVM_CHECK_EXTENSION`'s answer, 0 when it is missing.
    var capabilities: [(name: String, purpose: String, value: Int32)]
    /// Every mode, whether it runs and how its steps are counted.
    var modes: [ModeFinding]
    /// Whether KVM emulates the privileged modes in software, one instruction at a time.
    var isSoftware: Bool
    /// What guests may try that not every backend can do.
    var abilities: [Ability]
    /// Why no job can be deterministic here, or nil.
    var determinismObstacle: String?

    /// One such thing that guests may try.
    struct Ability: Sendable, Hashable {
        /// The key in JSON.
        var key: String
        /// For people.
        var name: String
        var isThere: Bool
    }
}

/// One mode on this machine.
struct ModeFinding: Sendable, Hashable {
    var mode: GuestMode
    var runs: Bool
    var counting: StepCounting
    /// Why the count may be off, where it may.
    var inexactness: String?
    /// What counts, fastest first; nil where nothing does.
    var meter: String?
    /// What a deterministic job's guest can see all the same; nil where there can be none.
    var determinism: ModeDeterminism?
}

/// How the steps of a mode are counted; the raw values are the names in JSON.
enum StepCounting: String, Sendable, Hashable {
    case none, exact, bounded

    init(_ meter: ModeMeter) {
        self =
            switch meter {
            case .none: .none
            case .exact: .exact
            case .bounded: .bounded
            }
    }

    /// For people.
    var text: String {
        switch self {
        case .none: "steps cannot be counted"
        case .exact: "steps counted exactly"
        case .bounded: "steps counted, at times with a known error,"
        }
    }
}

/// The worker that jobs would go to.
enum WorkerFinding: Sendable {
    case reachable(path: String, terms: WorkerTerms)
    /// There is a socket, or one was named, and no worker answers.
    case unreachable(path: String, reason: String)
    /// There is no service: jobs would run in kvmjob's own process.
    case embedded
}
