// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobTransport

/// What went wrong between this program and a worker. How a job ended is never an error: see `Outcome`.
public struct JobClientError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kinds of errors. New ones may be added: always handle those that you do not know.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The name, as in `connection-lost`.
        public let description: String

        /// There is no socket at the path. Is the worker, or its socket unit, installed and started?
        public static let noSocket = Code(description: "no-socket")
        /// There is a socket, and nobody listens on it.
        public static let connectionRefused = Code(description: "connection-refused")
        /// This user may not use the socket.
        public static let notPermitted = Code(description: "not-permitted")
        /// The path cannot be a socket's, or a system call failed: the message says which.
        public static let connectFailed = Code(description: "connect-failed")
        /// The connection was made, and no HELLO came in time: the service may be unable to start. Its log says why.
        public static let silentWorker = Code(description: "silent-worker")
        /// The worker speaks another major version of the wire.
        public static let versionUnsupported = Code(description: "version-unsupported")
        /// The worker, or this user, has as many connections as may be: the message says which. Try again later.
        public static let tooManyConnections = Code(description: "too-many-connections")
        /// The worker is shutting down and takes no new jobs. Try again on a new connection.
        public static let goingAway = Code(description: "going-away")
        /// The worker will not run this job: ``JobClientError/refusal`` says why.
        public static let refused = Code(description: "refused")
        /// The worker tells no more of the detached job, which was not this program's wish: the message says why. Of a worker that shuts
        /// down, try again on a new connection.
        public static let letGo = Code(description: "let-go")
        /// The job ended before this input was taken. Its result says how.
        public static let inputNotTaken = Code(description: "input-not-taken")
        /// The connection ended before the job did. The worker cancels the jobs of a connection that ends.
        public static let connectionLost = Code(description: "connection-lost")
        /// The worker's bytes break the specification.
        public static let protocolViolation = Code(description: "protocol-violation")
        /// The worker could not take this program's bytes, or failed itself.
        public static let workerFailed = Code(description: "worker-failed")
        /// ``JobClient/shutdown()`` was called.
        public static let shutDown = Code(description: "shut-down")
    }

    /// Why a worker will not run a job.
    public struct Refusal: Sendable, Hashable {
        /// The number on the wire.
        public var code: UInt16
        /// The name in the specification, such as `image-too-large`; `unknown` for a number that this version has no name for.
        public var name: String
        /// The bound that was crossed, where there is one.
        public var limit: UInt64?
        /// The value that crossed it.
        public var value: UInt64?
        /// The worker's setting that ``limit`` is the value of, such as `tenant-queued-jobs`, where it is one.
        public var limitName: String?
        /// The worker's estimate of the nanoseconds after which the same job may be accepted.
        public var retryNanoseconds: UInt64?
    }

    /// What kind of error this is.
    public var code: Code
    /// What was wrong, where, and what would be right, in one sentence.
    public var message: String
    /// The worker's reasons, of ``Code/refused``.
    public var refusal: Refusal?
    /// Whether the same request can succeed later.
    public var isRetryable: Bool

    init(_ code: Code, _ message: String, refusal: Refusal? = nil, isRetryable: Bool = false) {
        self.code = code
        self.message = message
        self.refusal = refusal
        self.isRetryable = isRetryable
    }

    /// The code and the message, and the refusal's name where there is one.
    public var description: String { "\(refusal?.name ?? code.description): \(message)" }
}

extension JobClientError {
    init(_ error: SocketError) {
        let code: Code =
            switch error {
            case .missing: .noSocket
            case .refused, .busy: .connectionRefused
            case .notPermitted: .notPermitted
            case .folderMissing, .notASocket, .inUse, .pathTooLong, .failed: .connectFailed
            }
        self.init(code, error.description, isRetryable: code == .connectionRefused)
    }

    /// A job that the worker will not run.
    init(refusal report: ErrorReport) {
        let name = report.knownCode?.name ?? "unknown"
        self.init(
            .refused, report.text ?? "the worker will not run this job (code \(report.code))",
            refusal: Refusal(
                code: report.code, name: name, limit: report.limit, value: report.value, limitName: report.limitName,
                retryNanoseconds: report.retryNanoseconds),
            isRetryable: report.isRetryable ?? false)
    }

    /// A worker that gave up on the connection.
    init(fatal report: ErrorReport) {
        let code: Code =
            switch report.knownCode {
            case .tooManyConnections: .tooManyConnections
            case .versionUnsupported: .versionUnsupported
            case .handshakeTimeout, .internal, .none, .some: .workerFailed
            }
        let name = report.knownCode?.name ?? "code \(report.code)"
        self.init(
            code, "the worker ended the connection with \(name): \(report.text ?? "no text")",
            isRetryable: code == .tooManyConnections)
    }

    init(_ error: WireError) {
        let code: Code = error.code == .versionUnsupported ? .versionUnsupported : .protocolViolation
        self.init(code, error.message)
    }

    static var connectionClosed: JobClientError {
        JobClientError(.connectionLost, "the connection to the worker was closed", isRetryable: true)
    }
    /// A detached job of which the worker tells no more.
    init(left reason: LeaveReason) {
        switch reason {
        case .asked, .told: self.init(.letGo, "the worker tells no more of the job")
        case .drain:
            self.init(.letGo, "the worker is shutting down; the job goes on with the next one", isRetryable: true)
        case .forgotten: self.init(.letGo, "the job was forgotten meanwhile")
        }
    }

    static var attachmentLost: JobClientError {
        JobClientError(
            .connectionLost, "the connection to the worker was closed; the job goes on, and can be attached to again",
            isRetryable: true)
    }
    static var jobLost: JobClientError {
        JobClientError(
            .connectionLost,
            "the connection to the worker was closed before the job ended: the worker was stopped or has crashed, see its log",
            isRetryable: true)
    }
}
