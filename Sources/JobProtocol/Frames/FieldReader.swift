// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The fields of one payload, in order. Knows the shape of a field, not its meaning.
struct FieldReader {
    private let payload: ArraySlice<UInt8>
    private let frameType: FrameType
    private var position: Int
    private var lastTag: UInt16?

    /// Bytes of tag and length in front of a value.
    static let headerSize = 6

    init(_ frame: Frame, _ type: FrameType) {
        payload = frame.payload
        position = payload.startIndex
        frameType = type
    }

    /// The next field, complete and with a tag above the last one's; nil at the payload's end.
    mutating func next() throws(WireError) -> Field? {
        guard position < payload.endIndex else { return nil }
        guard payload.endIndex - position >= Self.headerSize else {
            throw WireError(
                .payloadTruncated,
                "\(payload.endIndex - position) bytes are left; a field's header has 6",
                frameType: frameType.rawValue)
        }
        let tag = UInt16(bigEndianBytes: payload[position..<position + 2])
        let length = UInt32(bigEndianBytes: payload[position + 2..<position + Self.headerSize])
        let start = position + Self.headerSize
        guard length <= payload.endIndex - start else {
            throw WireError(
                .payloadTruncated, "field \(tag) announces \(length) bytes; the payload ends before",
                frameType: frameType.rawValue, fieldTag: tag, limit: UInt64(payload.endIndex - start),
                value: UInt64(length))
        }
        if let lastTag, tag <= lastTag {
            throw WireError(
                .fieldOrder, "field \(tag) comes after field \(lastTag); tags rise strictly",
                frameType: frameType.rawValue, fieldTag: tag)
        }
        lastTag = tag
        position = start + Int(length)
        return Field(tag: tag, value: payload[start..<position], frameType: frameType)
    }

    /// The error for a required field that did not come.
    func missing(_ tag: some RawRepresentable<UInt16>) -> WireError {
        WireError(
            .fieldMissing, "the required field \(tag.rawValue) is absent", frameType: frameType.rawValue,
            fieldTag: tag.rawValue)
    }

    /// The error for a field that the others do not allow, or not with its value.
    func badValue(_ tag: some RawRepresentable<UInt16>, _ message: String) -> WireError {
        WireError(
            .badValue, "field \(tag.rawValue) \(message)", frameType: frameType.rawValue, fieldTag: tag.rawValue)
    }
}

/// One tagged value that has not been understood yet.
struct Field {
    /// The bit of a tag that forbids skipping the field.
    static let critical: UInt16 = 0x8000

    let tag: UInt16
    let value: ArraySlice<UInt8>
    let frameType: FrameType

    var isCritical: Bool { tag & Self.critical != 0 }

    /// For a tag that the message does not know.
    func skip() throws(WireError) {
        guard !isCritical else { throw failure(.unknownCriticalField, "the critical field \(tag) is not known here") }
    }

    func integer<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type = T.self) throws(WireError) -> T {
        T(bigEndianBytes: try bytes(exactly: T.bitWidth / 8))
    }

    func integer<T: FixedWidthInteger & UnsignedInteger>(in range: ClosedRange<T>) throws(WireError) -> T {
        let number = try integer(T.self)
        guard range.contains(number) else {
            var error = failure(
                .badValue, "field \(tag) is \(number); it can be \(range.lowerBound) to \(range.upperBound)")
            error.limit = UInt64(number < range.lowerBound ? range.lowerBound : range.upperBound)
            error.value = UInt64(number)
            throw error
        }
        return number
    }

    func flag() throws(WireError) -> Bool { try integer(in: UInt8(0)...1) == 1 }

    func text(atMost limit: Int) throws(WireError) -> String {
        try text(of: try bytes(atMost: limit))
    }

    /// The text that these bytes of the value are.
    func text(of bytes: ArraySlice<UInt8>) throws(WireError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw failure(.badText, "field \(tag) is not UTF-8")
        }
        return text
    }

    func bytes(exactly size: Int) throws(WireError) -> ArraySlice<UInt8> {
        guard value.count == size else {
            throw sizeFailure("field \(tag) has \(value.count) bytes; it needs \(size)", limit: size)
        }
        return value
    }

    func bytes(atMost limit: Int, multipleOf unit: Int = 1) throws(WireError) -> ArraySlice<UInt8> {
        guard value.count <= limit else {
            throw sizeFailure("field \(tag) has \(value.count) bytes; \(limit) are the most", limit: limit)
        }
        guard value.count.isMultiple(of: unit) else {
            throw sizeFailure("field \(tag) has \(value.count) bytes; its entries have \(unit) each", limit: unit)
        }
        return value
    }

    func bytes(atLeast least: Int, atMost limit: Int) throws(WireError) -> ArraySlice<UInt8> {
        guard value.count >= least else {
            throw sizeFailure("field \(tag) has \(value.count) bytes; it needs at least \(least)", limit: least)
        }
        return try bytes(atMost: limit)
    }

    /// The case of a closed list that the value names.
    func known<T: RawRepresentable<UInt8>>(_ type: T.Type = T.self) throws(WireError) -> T {
        let number = try integer(UInt8.self)
        guard let known = T(rawValue: number) else { throw badValue(number) }
        return known
    }

    func badValue(_ value: some FixedWidthInteger & UnsignedInteger) -> WireError {
        var error = failure(.badValue, "field \(tag) holds \(value), which its table does not have")
        error.value = UInt64(value)
        return error
    }

    func sizeFailure(_ message: String, limit: Int) -> WireError {
        var error = failure(.fieldSize, message)
        error.limit = UInt64(limit)
        error.value = UInt64(value.count)
        return error
    }

    private func failure(_ code: ErrorCode, _ message: String) -> WireError {
        WireError(code, message, frameType: frameType.rawValue, fieldTag: tag)
    }
}
