// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import JobModel

/// What the report takes of a line of results: of ``JSONReport``'s keys those that it shows, and `line`, `job_id` and `label`, which a
/// batch puts in front.
///
/// Only the outcome must be there, so that the lines of `submit --json` do too.
struct ResultLine: Decodable {
    struct Failure: Decodable { var message: String? }
    struct FaultPart: Decodable { var name: String?, rip: String?, address: String? }
    struct InstructionPart: Decodable { var text: String?, bytes: String?, rip: String? }
    struct ExhaustedPart: Decodable { var budget: String?, limit: UInt64? }
    struct CancelledPart: Decodable { var by: String? }
    struct StepsPart: Decodable { var used: UInt64? }
    struct ProgramPart: Decodable { var signal: UInt64?, place: String? }

    var outcome: String
    var line: UInt64?, jobID: String?, label: String?
    var image: String?, name: String?
    var code: UInt64?, error: Failure?, fault: FaultPart?, unemulatable: InstructionPart?
    var exhausted: ExhaustedPart?, cancelled: CancelledPart?, program: ProgramPart?, hostError: String?,
        snapshot: String?
    var steps: StepsPart?, wallNanoseconds: UInt64?, queueNanoseconds: UInt64?, cpuNanoseconds: UInt64?
    var outputBytes: UInt64?, output: String?, outputFile: String?

    private enum CodingKeys: String, CodingKey {
        case outcome, line, label, image, name, code, error, fault, unemulatable, exhausted, cancelled, snapshot, steps,
            program
        case jobID = "job_id", hostError = "host_error", output = "output_base64", outputBytes = "output_bytes"
        case outputFile = "output_file"
        case wallNanoseconds = "wall_ns", queueNanoseconds = "queue_ns", cpuNanoseconds = "cpu_ns"
    }

    /// The most bytes of output that the report shows of a job: 192.
    static let shownOutput = 192

    /// What to call the job.
    var title: String { label ?? name ?? image ?? jobID ?? "" }

    /// What it is counted under: its outcome, but that a program's success is kept apart from its failure.
    var group: String {
        guard outcome == "exited" else { return outcome }
        return code == 0 ? "exited with 0" : "exited with another code"
    }

    /// What there is to say beyond the outcome, in a few words; empty where that is all.
    var detail: String {
        let text = [
            code.map { "code \($0)" }, fault.map(Self.describe), unemulatable.map(Self.describe),
            exhausted.map(Self.describe), cancelled?.by.map { "by \($0)" }, hostError, error?.message,
            program?.signal.map { "signal \($0)" }, program?.place.map { "in \($0)" },
            snapshot.map { "snapshot \($0)" },
        ]
        return text.compactMap(\.self).joined(separator: "; ")
    }

    private static func describe(_ fault: FaultPart) -> String {
        (fault.name ?? "fault") + (fault.rip.map { " at rip \($0)" } ?? "")
            + (fault.address.map { ", accessing \($0)" } ?? "")
    }

    private static func describe(_ instruction: InstructionPart) -> String {
        (instruction.text ?? instruction.bytes ?? "an instruction") + (instruction.rip.map { " at rip \($0)" } ?? "")
    }

    private static func describe(_ exhausted: ExhaustedPart) -> String {
        guard let limit = exhausted.limit else { return "" }
        switch exhausted.budget {
        case "cpu-time", "wall-time", "wait": return "limit \(DurationText.describe(nanoseconds: limit))"
        case "memory", "output": return "limit \(SizeText.describe(limit))"
        default: return "limit \(limit)"
        }
    }

    /// The beginning of its output, as text whatever its bytes are.
    var shownText: String {
        // Four digits are three bytes, so that a whole number of fours is base64 on its own.
        let digits = String((output ?? "").prefix(Self.shownOutput / 3 * 4))
        return String(decoding: Data(base64Encoded: digits) ?? Data(), as: UTF8.self)
    }
}

extension ResultLine {
    /// The job's row in the page's table: the order is that of `columns` in the page's script.
    var row: JSONValue {
        .array([
            .count(line), .string(title), .string(group), .string(detail), .count(wallNanoseconds), .count(steps?.used),
            .count(outputBytes), .text(jobID), .count(queueNanoseconds), .count(cpuNanoseconds), .string(shownText),
            .text(image == title ? nil : image), .text(outputFile),
        ])
    }
}
