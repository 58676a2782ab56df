// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A tally for people, and one for programs.
struct ConformReport {
    let tally: ConformTally

    /// The most differences of one failure that a line tells.
    private static let differenceLimit = 6

    // MARK: Text

    /// A row for each opcode and one for all; then what the reasons mean, and the first failures.
    var lines: [String] {
        let rows = tally.sorted.map { cells($0.form.text, $0.row) } + [cells("total", tally.total)]
        return [Self.row("opcode", ["vectors", "pass", "known", "fail"], "reasons")] + rows + reasons + failures
    }

    private func cells(_ title: String, _ row: ConformTally.Row) -> String {
        let counts = [row.count, row.passed, row.knownCount, row.failed].map(String.init)
        return Self.row(title, counts, title == "total" ? "" : Self.list(row.known))
    }

    private static func row(_ title: String, _ counts: [String], _ text: String) -> String {
        let cells = counts.map { String(repeating: " ", count: max(0, 9 - $0.count)) + $0 }.joined()
        let title = title + String(repeating: " ", count: max(0, 7 - title.count))
        return title + cells + (text.isEmpty ? "" : "  " + text)
    }

    private static func list(_ known: [String: Int]) -> String {
        known.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }

    private var reasons: [String] {
        let total = tally.total.known
        let lines = KnownDifference.all.compactMap { reason in
            total[reason.name].map { "  \(reason.name) \($0): \(reason.text)" }
        }
        return lines.isEmpty ? [] : ["", "known differences:"] + lines
    }

    private var failures: [String] {
        let lines = tally.sorted.flatMap { form, row in
            row.failures.map { failure in
                let told = failure.differences.prefix(Self.differenceLimit).joined(separator: ", ")
                let rest = failure.differences.count > Self.differenceLimit ? " …" : ""
                return "  \(form.text) \(failure.name): \(told)\(rest)"
            }
        }
        return lines.isEmpty ? [] : ["", "failures, the first \(ConformTally.Row.failureLimit) of an opcode:"] + lines
    }

    // MARK: JSON

    /// One object for each opcode.
    var objects: [JSONValue] {
        tally.sorted.map { form, row in
            let known = row.known.sorted { $0.key < $1.key }
            return .object([
                ("opcode", .string(HexText.padded(form.opcode, digits: 2))), ("extension", .count(form.member)),
                ("vectors", .count(row.count)), ("passed", .count(row.passed)),
                ("known", .object(known.map { ($0.key, .count($0.value)) })), ("failed", .count(row.failed)),
                ("failures", .array(row.failures.map(Self.object))),
            ])
        }
    }

    private static func object(_ failure: ConformTally.Failure) -> JSONValue {
        .object([
            ("vector", .string(failure.name)), ("differences", .array(failure.differences.map(JSONValue.string))),
        ])
    }
}
