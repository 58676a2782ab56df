// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation

/// What `metadata.json` beside the vectors says of each opcode.
struct OpcodeMetadata: Sendable, Decodable {
    /// One opcode, or one member of a group.
    struct Entry: Sendable, Decodable {
        /// `normal`, `prefix`, `alias`, `undocumented`, `undefined` or `fpu`.
        var status: String?
        /// The flags that the instruction leaves defined, as ones.
        var flagsMask: UInt16?
        /// The members of a group, by their digit.
        var reg: [String: Entry]?

        private enum CodingKeys: String, CodingKey {
            case status, reg
            case flagsMask = "flags-mask"
        }
    }

    /// The file's names: the second is that of the first releases.
    static let fileNames = ["metadata.json", "8088.json"]

    private var opcodes: [String: Entry]

    init(opcodes: [String: Entry] = [:]) { self.opcodes = opcodes }

    /// An object with `opcodes`, or, in the first releases, that object itself.
    init(json: Data) throws {
        struct Current: Decodable { var opcodes: [String: Entry] }
        if let current = try? JSONDecoder().decode(Current.self, from: json) {
            self.init(opcodes: current.opcodes)
        } else {
            self.init(opcodes: try JSONDecoder().decode([String: Entry].self, from: json))
        }
    }

    /// The flags to compare after an instruction: all where nothing is said of it.
    func definedFlags(of form: OpcodeForm) -> UInt16 {
        let entry = opcodes[HexText.padded(form.opcode, digits: 2).uppercased()]
        let member = form.member.flatMap { entry?.reg?[String($0)] }
        return member?.flagsMask ?? entry?.flagsMask ?? .max
    }
}
