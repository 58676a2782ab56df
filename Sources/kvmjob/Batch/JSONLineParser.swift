// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Reads one line of JSON (RFC 8259) and says where each value stands, and where the line is wrong.
///
/// Stricter than most: a key that an object has twice is an error, since one of the two values would be lost without a word.
struct JSONLineParser {
    /// The most objects and lists within each other: 32.
    static let depthLimit = 32

    private static let digitBytes = UInt8(ascii: "0")...UInt8(ascii: "9")

    private let line: [UInt8]
    private var index = 0

    private init(_ line: [UInt8]) { self.line = line }

    static func parse(_ line: [UInt8]) throws(JSONProblem) -> JSONNode {
        var parser = JSONLineParser(line)
        let node = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.index == line.count else {
            throw parser.problem("there is more behind the value: write one object a line")
        }
        return node
    }

    // MARK: Values

    private mutating func value(depth: Int) throws(JSONProblem) -> JSONNode {
        skipSpace()
        let start = index
        switch peek {
        case UInt8(ascii: "{"): return JSONNode(value: .object(try members(depth: depth)), offset: start)
        case UInt8(ascii: "["): return JSONNode(value: .array(try elements(depth: depth)), offset: start)
        case UInt8(ascii: "\""): return JSONNode(value: .string(try string()), offset: start)
        case let byte? where byte == UInt8(ascii: "-") || Self.digitBytes.contains(byte):
            return JSONNode(value: try number(), offset: start)
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case nil: throw problem("the line ends where a value is expected")
        default:
            throw problem("no value begins with \(shown): write a string, a number, an object, a list, true or false")
        }
    }

    private mutating func word(_ text: String, _ value: JSONNode.Value) throws(JSONProblem) -> JSONNode {
        let start = index
        guard line[start...].starts(with: text.utf8) else { throw problem("this is no value: write \(text)?") }
        index += text.utf8.count
        return JSONNode(value: value, offset: start)
    }

    private mutating func members(depth: Int) throws(JSONProblem) -> [JSONNode.Member] {
        try enter(depth)
        var members: [JSONNode.Member] = []
        guard !takeEnd(UInt8(ascii: "}")) else { return members }
        repeat {
            skipSpace()
            let start = index
            guard peek == UInt8(ascii: "\"") else {
                throw problem("a key is expected, in double quotation marks")
            }
            let key = try string()
            guard !members.contains(where: { $0.key == key }) else {
                throw JSONProblem(message: "\"\(key)\" is there twice: write it once", offset: start)
            }
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw problem("a colon is expected behind the key \"\(key)\"") }
            members.append(JSONNode.Member(key: key, offset: start, value: try value(depth: depth + 1)))
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw problem("a comma or } is expected here") }
        return members
    }

    private mutating func elements(depth: Int) throws(JSONProblem) -> [JSONNode] {
        try enter(depth)
        var elements: [JSONNode] = []
        guard !takeEnd(UInt8(ascii: "]")) else { return elements }
        repeat {
            elements.append(try value(depth: depth + 1))
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "]")) else { throw problem("a comma or ] is expected here") }
        return elements
    }

    private mutating func enter(_ depth: Int) throws(JSONProblem) {
        guard depth < Self.depthLimit else {
            throw problem("more than \(Self.depthLimit) objects and lists within each other")
        }
        index += 1
    }

    /// Whether the object or list ends here, right behind its beginning.
    private mutating func takeEnd(_ end: UInt8) -> Bool {
        skipSpace()
        return take(end)
    }

    // MARK: Numbers

    private mutating func number() throws(JSONProblem) -> JSONNode.Value {
        let start = index
        let isNegative = take(UInt8(ascii: "-"))
        let whole = digits()
        guard !whole.isEmpty else { throw problem("digits are expected here") }
        guard whole.count == 1 || line[whole.lowerBound] != UInt8(ascii: "0") else {
            index = whole.lowerBound
            throw problem("a number has no zeros in front; a hexadecimal one is a string, as in \"0x10\"")
        }
        let hasFraction = try fraction()
        let hasExponent = try exponent()
        let text = String(decoding: line[start..<index], as: UTF8.self)
        guard !isNegative, !hasFraction, !hasExponent, let number = UInt64(text) else { return .otherNumber(text) }
        return .number(number)
    }

    private mutating func fraction() throws(JSONProblem) -> Bool {
        guard take(UInt8(ascii: ".")) else { return false }
        guard !digits().isEmpty else { throw problem("digits are expected behind the point") }
        return true
    }

    private mutating func exponent() throws(JSONProblem) -> Bool {
        guard take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) else { return false }
        if !take(UInt8(ascii: "-")) { _ = take(UInt8(ascii: "+")) }
        guard !digits().isEmpty else { throw problem("digits are expected in the exponent") }
        return true
    }

    private mutating func digits() -> Range<Int> {
        let start = index
        while let byte = peek, Self.digitBytes.contains(byte) { index += 1 }
        return start..<index
    }

    // MARK: Strings

    /// From one quotation mark to behind the other.
    private mutating func string() throws(JSONProblem) -> String {
        let start = index
        index += 1
        var bytes: [UInt8] = []
        var plain = index
        while let byte = peek {
            switch byte {
            case UInt8(ascii: "\""):
                bytes += line[plain..<index]
                index += 1
                guard let text = String(validating: bytes, as: UTF8.self) else {
                    throw JSONProblem(message: "this string is not UTF-8", offset: start)
                }
                return text
            case UInt8(ascii: "\\"):
                bytes += line[plain..<index]
                try bytes.append(contentsOf: String(escaped()).utf8)
                plain = index
            case ..<0x20: throw problem("a control character is written as an escape, such as \\n")
            default: index += 1
            }
        }
        throw JSONProblem(message: "this string has no end", offset: start)
    }

    private mutating func escaped() throws(JSONProblem) -> Unicode.Scalar {
        let start = index
        index += 1
        let byte = peek
        index += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte ?? 0)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return try unicode(start)
        default:
            index = start
            throw problem("no escape begins so: write \\\\ for a backslash")
        }
    }

    private mutating func unicode(_ start: Int) throws(JSONProblem) -> Unicode.Scalar {
        let first = try fourDigits(start)
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard first < 0xDC00, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
            throw JSONProblem(message: "half of a surrogate pair is no character", offset: start)
        }
        let second = try fourDigits(start)
        guard 0xDC00...0xDFFF ~= second,
            let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) * 0x400 + second - 0xDC00)
        else { throw JSONProblem(message: "half of a surrogate pair is no character", offset: start) }
        return scalar
    }

    private mutating func fourDigits(_ start: Int) throws(JSONProblem) -> UInt32 {
        var number: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw JSONProblem(message: "\\u has four hexadecimal digits behind it", offset: start)
            }
            number = number * 16 + UInt32(digit)
            index += 1
        }
        return number
    }

    // MARK: Bytes

    private var peek: UInt8? { index < line.count ? line[index] : nil }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard peek == byte else { return false }
        index += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = peek, Self.isSpace(byte) { index += 1 }
    }

    static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D || byte == 0x0A }

    private func problem(_ message: String) -> JSONProblem { JSONProblem(message: message, offset: index) }

    /// The byte that is next, for people.
    private var shown: String {
        guard let byte = peek else { return "the end" }
        return 0x21...0x7E ~= byte ? "\"\(Character(Unicode.Scalar(byte)))\"" : "the byte \(HexText.describe(byte))"
    }
}
