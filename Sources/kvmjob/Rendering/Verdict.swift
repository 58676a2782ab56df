// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// How a job ended, in one line for people.
struct Verdict {
    let report: JobReport

    /// Such as `boot.bin: exited with code 3; 120 steps, 1.2 ms`.
    var line: String {
        switch report.end {
        case .refused(let rejection): "\(report.name): refused: \(RefusalText(rejection: rejection).line)"
        case .lost(let message): "\(report.name): lost: \(message)"
        case .ended(let result):
            "\(report.name): \(Self.describe(result.outcome, cause: result.postMortem.cause)); "
                + Self.measures(of: result).joined(separator: ", ")
        }
    }

    private static func describe(_ outcome: Outcome, cause: Fault?) -> String {
        switch outcome {
        case .halted: "halted"
        case .exited(let code): "exited with code \(code)"
        case .faulted(let fault): "faulted: \(describe(fault))"
        case .tripleFault:
            "triple-fault: \(cause.map { describe($0) + ", which" } ?? "an exception that") the guest could not handle, twice over"
        case .unemulatable(let instruction): "unemulatable: \(describe(instruction))"
        case .exhausted(let kind, let limit, let used):
            "\(outcome.name): the budget was \(describe(limit, kind))"
                + overrun(describe(used, kind), describe(limit, kind))
        case .cancelled(let canceller): "cancelled by \(describe(canceller))"
        case .waitExpired(let limit):
            "wait-expired: no slot was free within \(DurationText.describe(nanoseconds: limit))"
        case .hostError(let text): "host-error: \(text); running it again is safe"
        case .snapshotTaken(let name): "snapshot-taken: \(HexText.describe(digest: name.bytes))"
        }
    }

    private static func describe(_ fault: Fault) -> String {
        let code = fault.errorCode.map { ", error code \(HexText.describe($0))" } ?? ""
        let address = fault.address.map { ", accessing \(HexText.describe($0))" } ?? ""
        return "\(fault.title) at rip \(HexText.describe(fault.rip))\(address)\(code)"
    }

    private static func describe(_ instruction: Unemulatable) -> String {
        let place = instruction.rip.map { " at rip \(HexText.describe($0))" } ?? ""
        guard !instruction.bytes.isEmpty else { return "KVM could not run the instruction\(place)" }
        return "KVM could not run the instruction\(place), which begins \(HexText.describe(bytes: instruction.bytes))"
    }

    private static func describe(_ canceller: Canceller) -> String {
        switch canceller {
        case .client: "request"
        case .disconnect: "the end of its connection"
        case .drain: "the worker's shutdown"
        case .user: "kvmjob cancel"
        case .operator: "an operator of the worker"
        }
    }

    private static func overrun(_ used: String, _ limit: String) -> String { used == limit ? "" : ", used \(used)" }

    private static func describe(_ amount: UInt64, _ kind: BudgetKind) -> String {
        switch kind {
        case .steps: "\(amount) step\(amount == 1 ? "" : "s")"
        case .exits: "\(amount) exit\(amount == 1 ? "" : "s")"
        case .cpuTime, .wallTime: DurationText.describe(nanoseconds: amount)
        case .output, .memory: SizeText.describe(amount)
        }
    }

    private static func measures(of result: JobResult) -> [String] {
        [
            describe(result.meter, result.steps),
            result.wallNanoseconds == 0 ? "never started" : DurationText.describe(nanoseconds: result.wallNanoseconds),
            result.touchedBytes.map { "\(SizeText.describe($0)) touched" },
            note(result.unclaimedPortWrites, "to unclaimed ports"),
            note(result.droppedMemoryWrites, "outside memory dropped"),
            result.digest.map { "digest \(HexText.describe(digest: $0).prefix(digestDigits))" },
        ].compactMap(\.self)
    }

    /// As many digits of a digest as a person compares.
    private static let digestDigits = 16

    private static func describe(_ meter: Meter, _ steps: UInt64?) -> String? {
        guard let steps else { return nil }
        let count = "\(steps) step\(steps == 1 ? "" : "s")"
        guard case .bounded(let reason) = meter else { return count }
        return "about \(count) (\(reason))"
    }

    private static func note(_ count: UInt64, _ what: String) -> String? {
        count == 0 ? nil : "\(count) write\(count == 1 ? "" : "s") \(what)"
    }
}
