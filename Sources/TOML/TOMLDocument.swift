// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CLinux
internal import CTOML

/// The top level of a TOML document, each key with the line that it stands on, by toml++.
public struct TOMLDocument: Sendable, Hashable {
    /// A key and its value.
    public struct Entry: Sendable, Hashable {
        /// The key, without quotes.
        public var key: String
        /// What it is set to.
        public var value: TOMLValue
        /// Its line, counted from 1.
        public var line: Int
    }

    /// The most bytes of a document: 64 KiB. A settings file has a few.
    public static let maximumBytes = 64 << 10

    /// In the order of the document.
    public let entries: [Entry]

    /// Reads a file.
    ///
    /// Blocks the thread for as long as the file system takes.
    public init(path: String) throws(TOMLError) {
        var status: Int64 = 0
        // SAFETY: the string is lent for the call, which writes at most as many bytes as the buffer has, and says how many.
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: Self.maximumBytes + 1) { buffer, count in
            guard let start = buffer.baseAddress else { return }
            status = unsafe clinux_read_file(path, start, buffer.count)
            count = max(0, Int(status))
        }
        guard status >= 0 else { throw .unreadable(errno: CInt(-status)) }
        try self.init(bytes)
    }

    /// Takes the bytes of a document apart.
    public init(_ bytes: [UInt8]) throws(TOMLError) {
        guard bytes.count <= Self.maximumBytes else { throw .tooLong(limit: Self.maximumBytes) }
        let parsed = ParsedTOML(bytes)
        if let error = parsed.error { throw error }
        entries = parsed.entries.sorted { $0.line < $1.line }
    }
}

/// What a key is set to.
public indirect enum TOMLValue: Sendable, Hashable {
    /// A string.
    case string(String)
    /// An integer.
    case integer(Int64)
    /// An array.
    case array([TOMLValue])
    /// Something that has no use here; its name, with an article.
    case other(String)
}

/// Why there is no document.
public enum TOMLError: Error, Sendable, Hashable {
    /// The file cannot be read.
    case unreadable(errno: CInt)
    /// There are more bytes than a document may have.
    case tooLong(limit: Int)
    /// It is no TOML, as toml++ says, and where that showed.
    case syntax(message: String, line: Int)
}

/// A document in toml++'s hands.
@safe private struct ParsedTOML: ~Copyable {
    // SAFETY: `ctoml_parse` made it, `deinit` frees it, and no pointer into it leaves this type: every text is copied out.
    private let document: OpaquePointer

    init(_ bytes: [UInt8]) {
        // SAFETY: toml++ reads `count` bytes during the call and keeps none of them.
        unsafe document = bytes.withUnsafeBytes { buffer in
            unsafe buffer.withMemoryRebound(to: CChar.self) { characters in
                guard let start = characters.baseAddress else { return unsafe ctoml_parse("", 0) }
                return unsafe ctoml_parse(start, characters.count)
            }
        }
    }

    // SAFETY: see `document`.
    deinit { unsafe ctoml_free(document) }

    var error: TOMLError? {
        var place = ctoml_place()
        // SAFETY: the document is alive, and the place lives as long as the call.
        let message = unsafe ctoml_error(document, &place)
        let isError = unsafe message.bytes != nil
        guard isError else { return nil }
        return .syntax(message: unsafe string(message), line: Int(place.line))
    }

    var entries: [TOMLDocument.Entry] {
        // SAFETY: the document is alive, and every number is below its count.
        let count = unsafe ctoml_count(document)
        return (0..<count).map { number in
            var place = ctoml_place()
            let key = unsafe string(ctoml_key(document, number, &place))
            return TOMLDocument.Entry(
                key: key, value: unsafe value(ctoml_value(document, number), of: number), line: Int(place.line))
        }
    }

    private func value(_ value: ctoml_value, of number: Int) -> TOMLValue {
        switch unsafe value.kind {
        case CTOML_STRING: return .string(unsafe string(value.text))
        case CTOML_INTEGER: return .integer(unsafe value.integer)
        case CTOML_ARRAY:
            // SAFETY: every element is below the array's count; an array in an array is not looked into.
            let count = unsafe value.count
            return .array(
                (0..<count).map { index in
                    let element = unsafe ctoml_element(document, number, index)
                    return unsafe element.kind == CTOML_ARRAY ? .other("an array") : self.value(element, of: number)
                })
        case CTOML_FLOAT: return .other("a number with a fraction")
        case CTOML_BOOLEAN: return .other("a boolean")
        case CTOML_TABLE: return .other("a table")
        default: return .other("a date or time")
        }
    }

    private func string(_ text: ctoml_text) -> String {
        // SAFETY: the bytes belong to the document, which is alive; they are copied.
        unsafe String(
            decoding: UnsafeRawBufferPointer(start: text.bytes, count: text.length), as: UTF8.self)
    }
}
