// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import VMRuntime

/// One way to end, the guest that ends so, and what its result must say. `Tests/OUTCOMES.md` is this table for readers.
struct OutcomeRow: Sendable, CustomTestStringConvertible {
    /// The row's name: the outcome's, and more where it has several rows.
    let name: String
    /// The guest's machine code, in hexadecimal.
    let guest: String
    var mode = GuestMode.real16
    var budget = Budget(wallTime: .seconds(20))
    var canceller: Canceller?
    /// Whether the result is the right one.
    let isRight: @Sendable (JobResult) -> Bool

    var testDescription: String { name }

    private static func exhausted(
        _ kind: BudgetKind, _ isRight: @escaping @Sendable (_ limit: UInt64, _ used: UInt64) -> Bool
    ) -> @Sendable (JobResult) -> Bool {
        return { result in
            guard case .exhausted(kind, let limit, let used) = result.outcome else { return false }
            return isRight(limit, used)
        }
    }

    static let all: [OutcomeRow] = [
        OutcomeRow(name: "halted", guest: "B8 05 00 F4") { $0.outcome == .halted && $0.registers?.rip == 0x1004 },
        OutcomeRow(name: "exited", guest: "B0 07 E6 F4") { $0.outcome == .exited(code: 7) },
        OutcomeRow(name: "faulted", guest: "31 C0 8B 00", mode: .user64) {
            $0.outcome == .faulted(Fault(vector: 14, errorCode: 4, address: 0, rip: 0x10_0002))
        },
        OutcomeRow(name: "triple-fault", guest: "0F 0B", mode: .protected32) {
            $0.outcome == .tripleFault && $0.registers.map { $0.rip == 0x10_0000 } ?? true
        },
        // RDTSCP where it is emulated; where the processor runs it, the guest goes on to its HLT.
        OutcomeRow(name: "unemulatable", guest: "0F 01 F9 F4", mode: .long64) { result in
            guard case .unemulatable(let instruction) = result.outcome else { return result.outcome == .halted }
            return instruction.rip == 0x10_0000 && instruction.bytes.starts(with: [0x0F, 0x01, 0xF9])
        },
        OutcomeRow(
            name: "steps-exhausted", guest: "EB FE", budget: Budget(steps: 1000),
            isRight: exhausted(.steps) { $0 == 1000 && $1 == 1000 }),
        OutcomeRow(
            name: "cpu-time-exhausted", guest: "EB FE",
            budget: Budget(wallTime: .seconds(20), cpuTime: .milliseconds(20)),
            isRight: exhausted(.cpuTime) { $0 == 20_000_000 && $1 >= $0 }),
        OutcomeRow(
            name: "wall-time-exhausted", guest: "EB FE", budget: Budget(wallTime: .milliseconds(20)),
            isRight: exhausted(.wallTime) { $0 == 20_000_000 && $1 >= $0 }),
        OutcomeRow(
            name: "exits-exhausted", guest: "E6 80 EB FC", budget: Budget(exits: 100),
            isRight: exhausted(.exits) { $0 == 100 && $1 == 100 }),
        OutcomeRow(
            name: "output-exhausted", guest: "B0 41 E6 E9 EB FC", budget: Budget(outputBytes: 100),
            isRight: exhausted(.output) { $0 == 100 && $1 == 100 }),
        // Writes a byte to each page from 2 MiB on.
        OutcomeRow(
            name: "memory-exhausted", guest: "BF 00 00 20 00 C6 07 01 81 C7 00 10 00 00 EB F5", mode: .user64,
            budget: Budget(wallTime: .seconds(20), touchedBytes: 1 << 20),
            isRight: exhausted(.memory) { $0 == 1 << 20 && $1 > $0 }),
        OutcomeRow(name: "cancelled by client", guest: "EB FE", canceller: .client) {
            $0.outcome == .cancelled(by: .client)
        },
        OutcomeRow(name: "cancelled by disconnect", guest: "EB FE", canceller: .disconnect) {
            $0.outcome == .cancelled(by: .disconnect)
        },
        OutcomeRow(name: "cancelled by drain", guest: "EB FE", canceller: .drain) {
            $0.outcome == .cancelled(by: .drain)
        },
    ]
}

@Suite("Every outcome has a guest that reaches it", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct OutcomeTests {
    @Test("The guest ends as its row says", arguments: OutcomeRow.all)
    func row(_ row: OutcomeRow) async throws {
        let spec = JobSpec(mode: row.mode, budget: row.budget)
        let control = JobControl(hasInput: false)
        if let canceller = row.canceller { control.cancel(canceller) }
        let result = try await Run.of(hex(row.guest), spec, control: control).result
        #expect(row.isRight(result), "\(result.outcome)")
        #expect(row.name.hasPrefix(result.outcome.name) || row.name == "unemulatable")
    }

    @Test func `the table for readers has every row, and every outcome there is`() throws {
        let page = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../OUTCOMES.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        for row in OutcomeRow.all { #expect(text.contains("`\(row.guest)`"), "\(row.name)") }
        let names =
            ["halted", "exited", "faulted", "triple-fault", "unemulatable", "cancelled", "wait-expired", "host-error"]
            + BudgetKind.allCases.map { "\($0.name)-exhausted" }
        for name in names { #expect(text.contains("| `\(name)`"), "\(name)") }
    }
}
