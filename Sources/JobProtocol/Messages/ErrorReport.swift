// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// The content of an ERROR frame, as it came: a code can be one that this program does not know.
public struct ErrorReport: Sendable, Hashable {
    /// The largest text in bytes.
    public static let textLimit = 512

    /// The number of an ``ErrorCode``, or another.
    public var code: UInt16
    /// The type byte of the offending frame.
    public var frameType: UInt8?
    /// The tag of the offending field.
    public var fieldTag: UInt16?
    /// The bound that was crossed.
    public var limit: UInt64?
    /// The value that crossed it.
    public var value: UInt64?
    /// Whether the same request can succeed later.
    public var isRetryable: Bool?
    /// One sentence for people.
    public var text: String?
    /// The setting that ``limit`` is the value of, such as `tenant-queued-jobs`.
    public var limitName: String?
    /// An estimate of the nanoseconds after which the same request may succeed.
    public var retryNanoseconds: UInt64?

    /// The code, if this program knows it.
    public var knownCode: ErrorCode? { ErrorCode(rawValue: code) }

    /// A report of a code alone.
    public init(code: UInt16) { self.code = code }

    /// What a receiver says of bytes that it could not take.
    public init(_ error: WireError) {
        code = error.code.rawValue
        frameType = error.frameType
        fieldTag = error.fieldTag
        limit = error.limit
        value = error.value
        text = error.message
        limitName = error.limitName
    }

    /// What a worker says of a job that it will not run.
    ///
    /// - Parameter type: the frame that asked for it, SUBMIT or ATTACH.
    public init(_ refusal: Refusal, of type: FrameType = .submit) {
        code = ErrorCode(refusal.rule).rawValue
        frameType = type.rawValue
        limit = refusal.limit
        value = refusal.value
        isRetryable = refusal.isRetryable ? true : nil
        text = refusal.message
        (limitName, retryNanoseconds) = (refusal.limitName, refusal.retryNanoseconds)
    }

    private enum Tag: UInt16 {
        case code = 0x0001, frameType, fieldTag, limit, value, retryable, text, limitName, retryNanoseconds
    }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .error)
        var code: UInt16?
        self.init(code: 0)
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .code: code = try field.integer()
            case .frameType: frameType = try field.integer()
            case .fieldTag: fieldTag = try field.integer()
            case .limit: limit = try field.integer()
            case .value: value = try field.integer()
            case .retryable: isRetryable = try field.flag()
            case .text: text = try field.text(atMost: Self.textLimit)
            case .limitName: limitName = try field.text(atMost: Refusal.limitNameBytes)
            case .retryNanoseconds: retryNanoseconds = try field.integer()
            case nil: try field.skip()
            }
        }
        guard let code else { throw fields.missing(Tag.code) }
        self.code = code
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter(.error, job: job)
        fields.put(Tag.code, code)
        fields.put(Tag.frameType, frameType)
        fields.put(Tag.fieldTag, fieldTag)
        fields.put(Tag.limit, limit)
        fields.put(Tag.value, value)
        fields.put(Tag.retryable, flag: isRetryable)
        fields.put(Tag.text, text: text, atMost: Self.textLimit)
        fields.put(Tag.limitName, text: limitName, atMost: Refusal.limitNameBytes)
        fields.put(Tag.retryNanoseconds, retryNanoseconds)
        return fields.finish()
    }
}
