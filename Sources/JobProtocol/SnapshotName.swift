// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

extension Submit {
    /// The fields that a snapshot's name depends on, as they stand in the SUBMIT: tag, length, value.
    var namedFields: [UInt8] { fields { tag in Self.namedTags.contains { $0.contains(tag) } } }

    /// Those of its fields whose tags are among these, as they stand in the SUBMIT: tag, length, value.
    func fields(where isIncluded: (UInt16) -> Bool) -> [UInt8] {
        let payload = frame(job: 1).payload
        var fields: [UInt8] = []
        var start = payload.startIndex
        while start < payload.endIndex {
            let tag = UInt16(bigEndianBytes: payload[start..<start + 2])
            let length = UInt32(bigEndianBytes: payload[start + 2..<start + FieldReader.headerSize])
            let end = start + FieldReader.headerSize + Int(length)
            if isIncluded(tag) { fields += payload[start..<end] }
            start = end
        }
        return fields
    }

    /// Mode to memory_bytes, segments to pieces, deterministic, snapshot, and what describes a program.
    private static let namedTags: [ClosedRange<UInt16>] = [
        0x8002...0x8007, 0x8013...0x8016, 0x8019...0x8019, 0x801B...0x801B, 0x801D...0x8023,
    ]
}

extension ContentDigest {
    private static let snapshotDomain = Array("kvmjob-snapshot-1\0".utf8)

    /// The name of the snapshot of a job with this source whose SUBMIT has these fields, those of ``Submit/namedFields``. What a
    /// program's layers hold is among the fields.
    init(snapshotOf source: JobSource, fields: [UInt8]) {
        self.init(hashing: Self.snapshotDomain + source.imageDigest.bytes + fields)
    }
}

extension ServerSession {
    /// What the snapshot is called that this job is to end as; nil for a job that is not to end so. Takes a pass over the image where
    /// its digest is not known.
    public func snapshotName(of job: UInt32, _ source: JobSource) -> ContentDigest? {
        namedFields(of: job).map { ContentDigest(snapshotOf: source, fields: $0) }
    }
}
