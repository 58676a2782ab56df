// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation

/// One field in which two runs of a job differ.
struct ReportDifference: Sendable, Hashable {
    /// The key's path in the report: `registers.rax`.
    var field: String
    /// What the recorded run and the repeated one have there, as JSON.
    var recorded: String, repeated: String

    /// What has to be the same whenever a job is run again. Times are not, and neither is how often the worker had to look after the
    /// guest.
    static let comparedKeys = [
        "outcome", "code", "fault", "unemulatable", "exhausted", "cancelled", "steps", "output_bytes", "output_base64",
        "output_truncated", "unclaimed_port_writes", "port_writes", "port_writes_truncated", "dropped_memory_writes",
        "registers", "segments", "tables", "control", "digest",
    ]
    /// The most differences of one run that are told: 64.
    static let limit = 64

    /// The differences between two reports, in the order of ``comparedKeys``. A key that the recorded one does not have, because an
    /// older kvmjob wrote it, is not compared.
    static func between(_ recorded: JSONValue, _ repeated: JSONValue) -> [ReportDifference] {
        var found: [ReportDifference] = []
        for key in comparedKeys {
            guard let before = recorded[key] else { continue }
            compare(before, repeated[key] ?? .null, at: key, &found)
        }
        return found
    }

    private static func compare(
        _ recorded: JSONValue, _ repeated: JSONValue, at path: String, _ found: inout [ReportDifference]
    ) {
        switch (recorded, repeated) {
        case (.object(let before), .object(let after)):
            let keys = before.map(\.key) + after.map(\.key).filter { recorded[$0] == nil }
            for key in keys { compare(recorded[key] ?? .null, repeated[key] ?? .null, at: "\(path).\(key)", &found) }
        case (.array(let before), .array(let after)) where before.count == after.count:
            for (index, pair) in zip(before, after).enumerated() {
                compare(pair.0, pair.1, at: "\(path)[\(index)]", &found)
            }
        default: differ(recorded, repeated, at: path, &found)
        }
    }

    private static func differ(
        _ recorded: JSONValue, _ repeated: JSONValue, at path: String, _ found: inout [ReportDifference]
    ) {
        let (before, after) = (recorded.bytes, repeated.bytes)
        guard before != after else { return }
        guard path == "output_base64" else {
            let texts = [before, after].map { String(decoding: $0, as: UTF8.self) }
            return found.append(ReportDifference(field: path, recorded: texts[0], repeated: texts[1]))
        }
        found.append(output(recorded, repeated))
    }

    /// Where two outputs part; the bytes themselves would be too many.
    private static func output(_ recorded: JSONValue, _ repeated: JSONValue) -> ReportDifference {
        let outputs = [recorded, repeated].map { Data(base64Encoded: $0.string ?? "") ?? Data() }
        let same = zip(outputs[0], outputs[1]).prefix { $0 == $1 }.count
        let texts = outputs.map { output -> String in
            let rest = output.dropFirst(same).prefix(16)
            return
                "\(output.count) bytes, from byte \(same) on: \(rest.isEmpty ? "nothing" : HexText.describe(bytes: rest))"
        }
        return ReportDifference(field: "output_base64", recorded: texts[0], repeated: texts[1])
    }
}
