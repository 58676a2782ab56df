// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A field's value, read by the functions that read the option of the same name.
struct FieldValue {
    let field: ManifestField
    let node: JSONNode

    /// A number, or a string with what the option takes: `4096`, `"64KiB"`, `"0x1000"`, `"2s"`.
    func parsed<Value>(_ parse: (String) throws(ValueError) -> Value) throws(FieldProblem) -> Value {
        let text: String
        switch node.value {
        case .number(let number): text = String(number)
        case .string(let string): text = string
        case .otherNumber(let number): throw problem("\(number) is no whole number from 0 to 2^64-1")
        default: throw wrongKind("a number or a string")
        }
        return try valued { () throws(ValueError) in try parse(text) }
    }

    func text() throws(FieldProblem) -> String {
        guard case .string(let text) = node.value else { throw wrongKind("a string") }
        guard !text.utf8.contains(0) else { throw problem("there is a NUL in it") }
        return text
    }

    /// A string with what the option takes.
    func named<Value>(_ parse: (String) throws(ValueError) -> Value) throws(FieldProblem) -> Value {
        let text = try text()
        return try valued { () throws(ValueError) in try parse(text) }
    }

    /// A path that is not empty.
    func path() throws(FieldProblem) -> String {
        let path = try text()
        guard !path.isEmpty else { throw problem("a path has at least one character") }
        guard path != "-" else {
            throw problem("standard input is not a line's to read: name a file, ./- if it is called so")
        }
        return path
    }

    func flag() throws(FieldProblem) -> Bool {
        guard case .bool(let flag) = node.value else { throw wrongKind("true or false") }
        return flag
    }

    /// The strings of a list.
    func texts() throws(FieldProblem) -> [FieldValue] {
        guard case .array(let elements) = node.value else { throw wrongKind("a list of strings") }
        return elements.map { FieldValue(field: field, node: $0) }
    }

    /// The members of an object as the option has them, `NAME=VALUE`, each with its value's place.
    func assignments() throws(FieldProblem) -> [(name: String, value: FieldValue)] {
        guard case .object(let members) = node.value else { throw wrongKind("an object of names and values") }
        return members.map { ($0.key, FieldValue(field: field, node: $0.value)) }
    }

    func wrongKind(_ right: String) -> FieldProblem { problem("it is \(node.kind): write \(right)") }

    func problem(_ message: String) -> FieldProblem {
        FieldProblem(message, field: field.rawValue, offset: node.offset)
    }

    func valued<Value>(_ make: () throws(ValueError) -> Value) throws(FieldProblem) -> Value {
        do { return try make() } catch { throw problem(error.description) }
    }
}
