// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Builds a payload of fields. Call with rising tags; what is nil is left out.
struct FieldWriter {
    private(set) var payload: [UInt8] = []
    private var lastTag: UInt16?

    mutating func put(_ tag: some RawRepresentable<UInt16>, _ value: (some FixedWidthInteger & UnsignedInteger)?) {
        guard let value else { return }
        var bytes: [UInt8] = []
        bytes.append(bigEndian: value)
        put(tag, bytes: bytes)
    }

    mutating func put(_ tag: some RawRepresentable<UInt16>, flag: Bool?) {
        put(tag, flag.map { UInt8($0 ? 1 : 0) })
    }

    /// Text beyond the limit is cut at the last whole character of Unicode that fits.
    mutating func put(_ tag: some RawRepresentable<UInt16>, text: String?, atMost limit: Int) {
        guard let text else { return }
        var bytes = Array(text.utf8.prefix(limit))
        while !bytes.isEmpty, String(validating: bytes, as: UTF8.self) == nil { bytes.removeLast() }
        put(tag, bytes: bytes)
    }

    mutating func put(_ tag: some RawRepresentable<UInt16>, bytes: [UInt8]?) {
        guard let bytes else { return }
        precondition(lastTag.map { $0 < tag.rawValue } ?? true, "fields are written in the order of their tags")
        lastTag = tag.rawValue
        payload.append(bigEndian: tag.rawValue)
        payload.append(bigEndian: UInt32(bytes.count))
        payload.append(contentsOf: bytes)
    }
}
