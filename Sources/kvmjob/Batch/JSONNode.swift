// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A JSON value and where it stands in its line.
struct JSONNode: Sendable, Hashable {
    indirect enum Value: Sendable, Hashable {
        case null
        case bool(Bool)
        /// A whole number from 0 to 2^64-1.
        case number(UInt64)
        /// Any other number, as it is written.
        case otherNumber(String)
        case string(String)
        case array([JSONNode])
        /// In the order in which they stand there; no key is there twice.
        case object([Member])
    }

    struct Member: Sendable, Hashable {
        var key: String
        /// The key's first byte, its quotation mark.
        var offset: Int
        var value: JSONNode
    }

    var value: Value
    /// The value's first byte, the line's being 0.
    var offset: Int

    /// What it is, for people: `a number`.
    var kind: String {
        switch value {
        case .null: "null"
        case .bool: "true or false"
        case .number, .otherNumber: "a number"
        case .string: "a string"
        case .array: "a list"
        case .object: "an object"
        }
    }

    /// A member's value; nil where there is none, and of all that is no object.
    subscript(key: String) -> JSONNode? {
        guard case .object(let members) = value else { return nil }
        return members.first { $0.key == key }?.value
    }

    /// A whole number.
    var number: UInt64? {
        guard case .number(let number) = value else { return nil }
        return number
    }

    /// The text of a string.
    var string: String? {
        guard case .string(let text) = value else { return nil }
        return text
    }
}

/// Why a line is no JSON.
struct JSONProblem: Error, Sendable, Hashable {
    /// What was wrong and what would be right.
    var message: String
    /// The byte that was wrong; the line's length where it ends too early.
    var offset: Int
}
