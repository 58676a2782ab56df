// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// Every code that an ERROR frame can carry. The raw values are the numbers on the wire.
public enum ErrorCode: UInt16, Sendable, Hashable, CaseIterable {
    /// The payload is longer than the receiver's frame limit.
    case frameTooLong = 1
    /// A reserved part or flag bit is set.
    case reservedNotZero = 2
    /// A type below 0x80 that the receiver does not know.
    case unknownType = 3
    /// Job 0 where one is needed or the reverse, or a SUBMIT whose number does not rise.
    case badJob = 4
    /// A field, a data header or an image is cut short.
    case payloadTruncated = 5
    /// Tags do not rise strictly.
    case fieldOrder = 6
    /// A critical field that the receiver does not know. The one code that is also a refusal.
    case unknownCriticalField = 7
    /// A value of the wrong size.
    case fieldSize = 8
    /// Text that is not UTF-8.
    case badText = 9
    /// A value outside its table or range.
    case badValue = 10
    /// A required field is absent.
    case fieldMissing = 11
    /// The first frame is not HELLO.
    case helloExpected = 12
    /// The peer speaks another major version.
    case versionUnsupported = 13
    /// No HELLO came in time.
    case handshakeTimeout = 14
    /// A known frame in the wrong direction or state.
    case unexpectedFrame = 15
    /// A data frame that does not continue its stream.
    case badOffset = 16
    /// More image bytes than announced.
    case dataOverrun = 17
    /// Data beyond the credit, or more requests without an answer than there may be.
    case windowExceeded = 18
    /// Credit above 2^31-1.
    case windowOverflow = 19
    /// The worker, or this user, has as many connections as it may.
    case tooManyConnections = 20
    /// The worker's own fault.
    case `internal` = 21

    /// ``Refusal/Rule/invalidField``.
    case invalidField = 64
    /// ``Refusal/Rule/imageTooLarge``.
    case imageTooLarge = 65
    /// ``Refusal/Rule/imageEmpty``.
    case imageEmpty = 66
    /// ``Refusal/Rule/memorySize``.
    case memorySize = 67
    /// ``Refusal/Rule/imageOutsideMemory``.
    case imageOutsideMemory = 68
    /// ``Refusal/Rule/entryOutsideMemory``.
    case entryOutsideMemory = 69
    /// ``Refusal/Rule/imageOverlapsSystemArea``.
    case imageOverlapsSystemArea = 70
    /// ``Refusal/Rule/budgetRange``.
    case budgetRange = 71
    /// ``Refusal/Rule/modeUnavailable``.
    case modeUnavailable = 72
    /// ``Refusal/Rule/tooManyJobs``.
    case tooManyJobs = 73
    /// ``Refusal/Rule/queueFull``.
    case queueFull = 74
    /// ``Refusal/Rule/draining``.
    case draining = 75
    /// CANCEL came before the image was complete.
    case cancelledUpload = 76
    /// ``Refusal/Rule/imageDigestMismatch``.
    case imageDigestMismatch = 77
    /// ``Refusal/Rule/snapshotUnknown``.
    case snapshotUnknown = 78
    /// ``Refusal/Rule/programUnusable``.
    case programUnusable = 79
    /// ``Refusal/Rule/tenantLimit``.
    case tenantLimit = 80
    /// ``Refusal/Rule/jobUnknown``.
    case jobUnknown = 81
    /// ``Refusal/Rule/runOver``.
    case runOver = 82
    /// ``Refusal/Rule/detachUnavailable``.
    case detachUnavailable = 83
    /// ``Refusal/Rule/keyTaken``.
    case keyTaken = 84

    /// The name in the specification, in JSON and in logs, such as `frame-too-long`.
    public var name: String {
        switch self {
        case .frameTooLong: "frame-too-long"
        case .reservedNotZero: "reserved-not-zero"
        case .unknownType: "unknown-type"
        case .badJob: "bad-job"
        case .payloadTruncated: "payload-truncated"
        case .fieldOrder: "field-order"
        case .unknownCriticalField: "unknown-critical-field"
        case .fieldSize: "field-size"
        case .badText: "bad-text"
        case .badValue: "bad-value"
        case .fieldMissing: "field-missing"
        case .helloExpected: "hello-expected"
        case .versionUnsupported: "version-unsupported"
        case .handshakeTimeout: "handshake-timeout"
        case .unexpectedFrame: "unexpected-frame"
        case .badOffset: "bad-offset"
        case .dataOverrun: "data-overrun"
        case .windowExceeded: "window-exceeded"
        case .windowOverflow: "window-overflow"
        case .tooManyConnections: "too-many-connections"
        case .internal: "internal"
        case .invalidField: "invalid-field"
        case .imageTooLarge: "image-too-large"
        case .imageEmpty: "image-empty"
        case .memorySize: "memory-size"
        case .imageOutsideMemory: "image-outside-memory"
        case .entryOutsideMemory: "entry-outside-memory"
        case .imageOverlapsSystemArea: "image-overlaps-system-area"
        case .budgetRange: "budget-range"
        case .modeUnavailable: "mode-unavailable"
        case .tooManyJobs: "too-many-jobs"
        case .queueFull: "queue-full"
        case .draining: "draining"
        case .cancelledUpload: "cancelled-upload"
        case .imageDigestMismatch: "image-digest-mismatch"
        case .snapshotUnknown: "snapshot-unknown"
        case .programUnusable: "program-unusable"
        case .tenantLimit: "tenant-limit"
        case .jobUnknown: "job-unknown"
        case .runOver: "run-over"
        case .detachUnavailable: "detach-unavailable"
        case .keyTaken: "key-taken"
        }
    }

    /// The code of a rule: the one place where the model's names meet the wire's numbers.
    public init(_ rule: Refusal.Rule) {
        self =
            switch rule {
            case .invalidField: .invalidField
            case .imageTooLarge: .imageTooLarge
            case .imageEmpty: .imageEmpty
            case .memorySize: .memorySize
            case .imageOutsideMemory: .imageOutsideMemory
            case .entryOutsideMemory: .entryOutsideMemory
            case .imageOverlapsSystemArea: .imageOverlapsSystemArea
            case .budgetRange: .budgetRange
            case .modeUnavailable: .modeUnavailable
            case .tooManyJobs: .tooManyJobs
            case .queueFull: .queueFull
            case .draining: .draining
            case .imageDigestMismatch: .imageDigestMismatch
            case .snapshotUnknown: .snapshotUnknown
            case .programUnusable: .programUnusable
            case .tenantLimit: .tenantLimit
            case .jobUnknown: .jobUnknown
            case .runOver: .runOver
            case .detachUnavailable: .detachUnavailable
            case .keyTaken: .keyTaken
            }
    }
}

/// What is wrong with bytes that a peer sent, with everything that the ERROR frame says about it.
public struct WireError: Error, Sendable, Hashable {
    /// The rule that was broken.
    public var code: ErrorCode
    /// 0 when the connection cannot go on; otherwise the job whose SUBMIT is refused while the connection goes on.
    public var job: UInt32
    /// The type byte of the offending frame.
    public var frameType: UInt8?
    /// The tag of the offending field.
    public var fieldTag: UInt16?
    /// The bound that was crossed.
    public var limit: UInt64?
    /// The value that crossed it.
    public var value: UInt64?
    /// The setting that ``limit`` is the value of, where it is one.
    public var limitName: String?
    /// What was wrong, where, and what would be right, in one sentence.
    public var message: String

    /// An error with its parts.
    public init(
        _ code: ErrorCode, _ message: String, job: UInt32 = 0, frameType: UInt8? = nil, fieldTag: UInt16? = nil,
        limit: UInt64? = nil, value: UInt64? = nil, limitName: String? = nil
    ) {
        self.code = code
        self.job = job
        self.frameType = frameType
        self.fieldTag = fieldTag
        self.limit = limit
        self.value = value
        self.limitName = limitName
        self.message = message
    }
}
