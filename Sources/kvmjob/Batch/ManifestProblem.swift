// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What is wrong with a line of a manifest.
struct ManifestProblem: Error, Sendable, Hashable {
    /// The file as the user named it, or `standard input`.
    var file: String
    /// The first is 1.
    var line: Int
    /// In characters, the first being 1; nil where the line as a whole is meant.
    var column: Int?
    /// The field that is meant, if one is.
    var field: String?
    /// What was wrong and what would be right.
    var message: String

    /// In the form of a compiler's: `jobs.jsonl:3:17: "steps": it is a string: write a number`.
    var text: String {
        let place = [file, String(line), column.map { String($0) }].compactMap(\.self).joined(separator: ":")
        return "\(place): " + (field.map { "\"\($0)\": " } ?? "") + message
    }
}

/// What is wrong with a field's value, before anybody knows in which line it stands.
struct FieldProblem: Error, Sendable, Hashable {
    var message: String
    var field: String?
    /// In bytes from the line's first.
    var offset: Int?

    init(_ message: String, field: String? = nil, offset: Int? = nil) {
        (self.message, self.field, self.offset) = (message, field, offset)
    }

    /// As it stands in this line of this file.
    func placed(in file: String, line: Int, _ bytes: [UInt8]) -> ManifestProblem {
        let column = offset.map { offset in
            // A byte of a character that is not its first is none of its own.
            1 + bytes.prefix(offset).count { $0 & 0xC0 != 0x80 }
        }
        return ManifestProblem(file: file, line: line, column: column, field: field, message: message)
    }
}
