// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobStore
internal import Logging

/// What the worker writes to the log. Every record has an `event`, by which the journal's `MESSAGE_ID` is chosen.
struct WorkerLog {
    let logger: Logger
    let jobs: JobLogging

    func jobFinished(_ key: UInt64, _ title: JobTitle, _ result: JobResult, peer: Peer) {
        guard jobs == .all || (jobs == .failures && !result.outcome.isSuccess) else { return }
        var metadata = peer.metadata
        metadata["event"] = "job-finished"
        metadata["kvmjob_id"] = "\(key)"
        title.put(in: &metadata)
        metadata["kvmjob_outcome"] = "\(result.outcome.name)"
        metadata["kvmjob_steps"] = result.steps.map { "\($0)" }
        metadata["kvmjob_exits"] = "\(result.exits.total)"
        metadata["kvmjob_wall_usec"] = "\(result.wallNanoseconds / 1000)"
        metadata["kvmjob_queue_usec"] = "\(result.queueNanoseconds / 1000)"
        metadata["kvmjob_output_bytes"] = "\(result.outputBytes)"
        metadata["kvmjob_exit_code"] = result.outcome.exitCode.map { "\($0)" }
        metadata["kvmjob_canceller"] = result.outcome.canceller.map { "\($0.name)" }
        metadata["kvmjob_signal"] = result.program?.signal.map { "\($0)" }
        metadata["kvmjob_system_calls"] = result.program.map { "\($0.systemCalls)" }
        logger.log(
            level: result.outcome.logLevel, "job \(key)\(peer.suffix) ended: \(result.outcome.name)", metadata: metadata
        )
    }

    func jobAccepted(_ key: UInt64, _ title: JobTitle, position: Int, peer: Peer) {
        guard jobs == .all else { return }
        var metadata = peer.metadata
        metadata["event"] = "job-accepted"
        metadata["kvmjob_id"] = "\(key)"
        title.put(in: &metadata)
        metadata["kvmjob_queue_position"] = "\(position)"
        logger.info("job \(key)\(peer.suffix) accepted", metadata: metadata)
    }

    func jobRefused(_ refusal: Refusal, of title: JobTitle?, peer: Peer) {
        guard jobs != .none else { return }
        var metadata = peer.metadata
        metadata["event"] = "job-refused"
        title?.put(in: &metadata)
        metadata["kvmjob_rule"] = "\(ErrorCode(refusal.rule).name)"
        metadata["kvmjob_limit_name"] = refusal.limitName.map { "\($0)" }
        metadata["kvmjob_limit"] = refusal.limit.map { "\($0)" }
        metadata["kvmjob_use"] = refusal.value.map { "\($0)" }
        // Whoever asks for a snapshot that is gone takes it anew, as clients do by themselves.
        let level: Logger.Level = refusal.rule == .snapshotUnknown ? .info : .warning
        logger.log(level: level, "job refused: \(refusal.message)", metadata: metadata)
    }

    func connectionFailed(_ what: String, peer: Peer) {
        var metadata = peer.metadata
        metadata["event"] = "connection-error"
        logger.notice("connection ended: \(what)", metadata: metadata)
    }

    func storeFailed(_ error: JobStoreError) {
        logger.error("detached jobs: \(error)", metadata: ["event": "store-error"])
    }

    func drainRequested(by peer: Peer) {
        logger.notice("told to leave when its jobs have ended", metadata: peer.metadata)
    }

    func draining(jobs: Int) {
        logger.notice("draining: \(jobs) jobs to finish", metadata: ["event": "worker-draining"])
    }
}

/// What a job is called in the log.
struct JobTitle: Sendable, Hashable {
    private let label: String
    /// The path of a Linux program.
    private let program: String?

    init(_ spec: JobSpec) {
        (label, program) = (spec.label, spec.program.map { String(decoding: $0.path, as: UTF8.self) })
    }

    /// Of a job of which only this is known.
    init(text: String) { (label, program) = (text, nil) }

    /// The label, or else what it executes.
    var text: String { label.isEmpty ? program ?? "" : label }

    func put(in metadata: inout Logger.Metadata) {
        metadata["kvmjob_label"] = "\(label)"
        metadata["kvmjob_program"] = program.map { "\($0)" }
    }
}

/// Who is at the other end of a connection, as the kernel tells it (SO_PEERCRED).
struct Peer: Sendable, Hashable {
    let process: Int32?
    /// For the log. What belongs to a user, belongs to the ``tenant``.
    private let user: UInt32?

    init(process: Int32?, user: UInt32?) { (self.process, self.user) = (process, user) }

    /// What the kernel tells of a user who has no number in this process's user namespace: all of them look alike.
    static let unmappedUser: UInt32 = 65534

    /// The user, where it can be told from every other.
    var tenant: UInt32? { user == Self.unmappedUser ? nil : user }

    /// On whose account everything goes.
    var owner: Tenant { tenant.map(Tenant.user) ?? .unnamed }

    /// Behind a job's number, in a sentence. What a client calls its job stands in a field of its own, and in no sentence.
    var suffix: String { user.map { " of user \($0)" } ?? "" }

    var metadata: Logger.Metadata {
        var metadata: Logger.Metadata = [:]
        metadata["kvmjob_uid"] = user.map { "\($0)" }
        metadata["object_pid"] = process.map { "\($0)" }
        return metadata
    }
}

extension Outcome {
    fileprivate var exitCode: UInt32? {
        if case .exited(let code) = self { code } else { nil }
    }

    fileprivate var canceller: Canceller? {
        if case .cancelled(let canceller) = self { canceller } else { nil }
    }

    /// Ended as a guest ends that did its work.
    var isSuccess: Bool {
        switch self {
        case .halted, .exited(code: 0), .snapshotTaken: true
        case .exited, .faulted, .tripleFault, .unemulatable, .exhausted, .cancelled, .waitExpired, .hostError: false
        }
    }

    /// Our own faults are errors, a guest's are warnings.
    var logLevel: Logger.Level {
        if case .hostError = self { return .error }
        return isSuccess ? .info : .warning
    }
}
