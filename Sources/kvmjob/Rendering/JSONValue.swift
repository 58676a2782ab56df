// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A JSON text in the making. Objects keep the order of their keys, so that the same job gives the same line.
indirect enum JSONValue: Sendable {
    case null
    case bool(Bool)
    case number(UInt64)
    case string(String)
    case array([JSONValue])
    case object([(key: String, value: JSONValue)])
    /// JSON on one line that was made elsewhere.
    case verbatim([UInt8])

    /// A string, or null.
    static func text(_ text: String?) -> JSONValue { text.map(JSONValue.string) ?? .null }

    /// A number, or null.
    static func count(_ number: (some BinaryInteger)?) -> JSONValue { number.map { .number(UInt64($0)) } ?? .null }

    /// A string such as "0x1f", or null: 64-bit values as JSON numbers would lose digits in most readers.
    static func hex(_ number: (some BinaryInteger)?) -> JSONValue {
        number.map { .string(HexText.describe($0)) } ?? .null
    }

    /// The text on one line, without a newline, as UTF-8.
    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        write(to: &bytes)
        return bytes
    }

    private func write(to bytes: inout [UInt8]) {
        switch self {
        case .null: bytes += "null".utf8
        case .bool(let value): bytes += (value ? "true" : "false").utf8
        case .number(let value): bytes += String(value).utf8
        case .string(let value): Self.write(value, to: &bytes)
        case .array(let values):
            Self.writeList(values, between: ("[", "]"), to: &bytes) { $0.write(to: &$1) }
        case .object(let members):
            Self.writeList(members, between: ("{", "}"), to: &bytes) { member, bytes in
                Self.write(member.key, to: &bytes)
                bytes += ":".utf8
                member.value.write(to: &bytes)
            }
        case .verbatim(let text): bytes += text
        }
    }

    private static func writeList<Element>(
        _ elements: [Element], between brackets: (String, String), to bytes: inout [UInt8],
        _ write: (Element, inout [UInt8]) -> Void
    ) {
        bytes += brackets.0.utf8
        for (index, element) in elements.enumerated() {
            if index > 0 { bytes += ",".utf8 }
            write(element, &bytes)
        }
        bytes += brackets.1.utf8
    }

    private static func write(_ text: String, to bytes: inout [UInt8]) {
        bytes += "\"".utf8
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
            case ..<0x20: bytes += "\\u00\(HexText.padded(byte, digits: 2))".utf8
            default: bytes.append(byte)
            }
        }
        bytes += "\"".utf8
    }
}
