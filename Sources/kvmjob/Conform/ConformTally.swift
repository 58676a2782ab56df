// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What is said of one vector.
struct VectorVerdict: Sendable, Hashable {
    enum Finding: Sendable, Hashable {
        case passed
        /// A difference between processors, by its name.
        case known(String)
        /// What was wrong.
        case failed([String])
    }

    var form: OpcodeForm
    /// The vector's file and place in it, and its disassembly.
    var name: String
    var finding: Finding

    init(form: OpcodeForm, name: String, finding: Finding) {
        (self.form, self.name, self.finding) = (form, name, finding)
    }

    init(_ comparison: Comparison, name: String) {
        (form, self.name) = (comparison.instruction.form, name)
        if comparison.differences.isEmpty {
            finding = .passed
        } else if let reason = KnownDifference.reason(for: comparison) {
            finding = .known(reason.name)
        } else {
            finding = .failed(comparison.differences.map(\.text))
        }
    }
}

/// The vectors so far, counted by opcode.
struct ConformTally: Sendable, Hashable {
    /// One opcode's vectors.
    struct Row: Sendable, Hashable {
        var passed = 0
        var known: [String: Int] = [:]
        var failed = 0
        /// The first failures.
        var failures: [Failure] = []

        /// The most failures of an opcode that are told: 3.
        static let failureLimit = 3

        var knownCount: Int { known.values.reduce(0, +) }
        var count: Int { passed + knownCount + failed }

        static func += (left: inout Row, right: Row) {
            left.passed += right.passed
            left.known.merge(right.known, uniquingKeysWith: +)
            left.failed += right.failed
        }
    }

    /// A vector that does not hold, and nobody knows why.
    struct Failure: Sendable, Hashable {
        var name: String
        var differences: [String]
    }

    private(set) var rows: [OpcodeForm: Row] = [:]

    mutating func add(_ verdict: VectorVerdict) {
        var row = rows[verdict.form] ?? Row()
        switch verdict.finding {
        case .passed: row.passed += 1
        case .known(let reason): row.known[reason, default: 0] += 1
        case .failed(let differences):
            row.failed += 1
            if row.failures.count < Row.failureLimit {
                row.failures.append(Failure(name: verdict.name, differences: differences))
            }
        }
        rows[verdict.form] = row
    }

    /// By opcode.
    var sorted: [(form: OpcodeForm, row: Row)] { rows.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }

    /// All opcodes together, without their failures' stories.
    var total: Row { rows.values.reduce(into: Row()) { $0 += $1 } }
}
