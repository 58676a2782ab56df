// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// What is kept of a job outside a connection is what would be on the wire, and is read again by the same code.
extension Submit {
    /// The payload of its frame, which does not tell of which job it is.
    public var payload: [UInt8] { Array(frame(job: 1).payload) }

    /// The spec that a stored SUBMIT's payload asks for: one of ``ServerSession/submission(of:)``.
    ///
    /// - Throws: what is wrong with the bytes, as for a frame.
    public static func spec(payload: [UInt8]) throws(WireError) -> JobSpec {
        let submit = try Submit(Frame(.submit, job: 1, payload: payload))
        guard let mode = GuestMode(rawValue: submit.mode) else {
            throw WireError(
                .badValue, "mode \(submit.mode) is not known here; a newer version may know it",
                frameType: FrameType.submit.rawValue,
                value: UInt64(submit.mode))
        }
        return submit.spec(mode: mode)
    }

    /// Label, priority, image_digest and key: two submissions that differ in nothing else are the same.
    private static let incidentalTags: Set<UInt16> = [0x0001, 0x801A, 0x8024, 0x8027]

    /// The fields by which a submission under a key is known again.
    var definingFields: [UInt8] { fields { !Self.incidentalTags.contains($0) } }
}

extension ContentDigest {
    private static let submissionDomain = Array("kvmjob-submission-1\0".utf8)

    /// What is the same for the same submission: of its fields, its image and its input. A program's layers are among the fields.
    init(submissionOf source: JobSource, fields: [UInt8], input: [UInt8]) {
        let image = source.imageDigest
        self.init(hashing: Self.submissionDomain + image.bytes + ContentDigest(hashing: input).bytes + fields)
    }
}

extension JobSource {
    /// SHA-256 of the image; of no bytes where there is none.
    var imageDigest: ContentDigest {
        guard case .image(let image) = self else { return ContentDigest(hashing: []) }
        return image.digest ?? ContentDigest(hashing: image.bytes)
    }
}

extension JobResult {
    /// The result that a stored RESULT's payload tells: one of ``ResultReport/payload``.
    ///
    /// - Throws: what is wrong with the bytes, as for a frame.
    public init(resultPayload payload: [UInt8]) throws(WireError) {
        self = try ResultReport(Frame(.result, job: 1, payload: payload)).jobResult
    }
}

extension ResultReport {
    /// The payload of its RESULT frame, at most ``FrameHeader/smallestFrameLimit`` bytes.
    public var payload: [UInt8] { Array(frame(job: 1).payload) }
}
