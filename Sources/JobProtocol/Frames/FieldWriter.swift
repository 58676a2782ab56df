// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Builds a frame whose payload is fields. Call with rising tags; what is nil is left out.
struct FieldWriter: ~Copyable {
    private var written: FrameWriter
    private var lastTag: UInt16?

    /// - Parameter capacity: bytes of payload for which there is room; beyond them it grows.
    init(_ type: FrameType, job: UInt32, capacity: Int = 128) {
        written = FrameWriter(type, job: job, capacity: capacity)
    }

    /// The frame of all fields.
    consuming func finish() -> Frame { written.finish() }

    mutating func put(_ tag: some RawRepresentable<UInt16>, _ value: (some FixedWidthInteger & UnsignedInteger)?) {
        guard let value else { return }
        begin(tag.rawValue, count: value.bitWidth / 8)
        written.payload.put(value)
    }

    mutating func put<Block: WireBlock>(_ tag: some RawRepresentable<UInt16>, block: Block?) {
        guard let block else { return }
        begin(tag.rawValue, count: Block.wireSize)
        block.put(in: &written.payload)
    }

    mutating func put(_ tag: some RawRepresentable<UInt16>, flag: Bool?) {
        put(tag, flag.map { UInt8($0 ? 1 : 0) })
    }

    /// Text beyond the limit is cut at the last whole character of Unicode that fits.
    mutating func put(_ tag: some RawRepresentable<UInt16>, text: String?, atMost limit: Int) {
        put(tag, bytes: text?.utf8Bytes(atMost: limit))
    }

    mutating func put(_ tag: some RawRepresentable<UInt16>, bytes: [UInt8]?) {
        guard let bytes else { return }
        begin(tag.rawValue, count: bytes.count)
        written.payload.put(bytes)
    }

    private mutating func begin(_ tag: UInt16, count: Int) {
        precondition(lastTag.map { $0 < tag } ?? true, "fields are written in the order of their tags")
        lastTag = tag
        written.payload.put(tag)
        written.payload.put(UInt32(count))
    }
}

extension String {
    /// Its bytes, or those of as many whole characters of Unicode as fit.
    func utf8Bytes(atMost limit: Int) -> [UInt8] {
        var bytes = Array(utf8.prefix(limit))
        while !bytes.isEmpty, String(validating: bytes, as: UTF8.self) == nil { bytes.removeLast() }
        return bytes
    }
}
