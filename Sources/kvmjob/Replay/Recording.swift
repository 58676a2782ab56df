// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import JobModel

/// One JSON report of a deterministic job, as `kvmjob submit --deterministic --json` wrote it.
struct Recording: Sendable {
    /// The job's name, for people.
    var name: String
    /// What was run.
    var job: JobDescription
    /// The whole report.
    var report: JSONValue

    /// The most bytes of a file of reports: 512 MiB.
    static let byteLimit = 512 << 20

    /// Outcomes of a job that never ran to any end.
    private static let unfinished: Set<String> = ["refused", "lost", "wait-expired"]
    /// Outcomes that come from the clock, from a person or from the host, and not from the guest.
    private static let unrepeatable: Set<String> = [
        "wall-time-exhausted", "cpu-time-exhausted", "memory-exhausted", "cancelled", "host-error",
    ]

    /// The outcome's name.
    var outcome: String { report["outcome"].flatMap(\.string) ?? "" }
    /// Whether another run has to end in the same way.
    var isRepeatable: Bool { !Self.unrepeatable.contains(outcome) }

    /// The reports in a file: one object, over any number of lines, or one on each line.
    ///
    /// - Throws: ``CommandFailure`` that names the file, the line where there are several, and the key.
    static func read(_ bytes: [UInt8], from file: String) throws -> [Recording] {
        let lines = bytes.split(separator: UInt8(ascii: "\n")).enumerated().filter { !isBlank($0.element) }
        guard let first = lines.first else { throw failure("\(file): it is empty") }
        // A report stretched over many lines begins with a line that is no report by itself.
        guard lines.count > 1, (try? JSONDecoder().decode(JSONValue.self, from: Data(first.element))) != nil else {
            return [try Recording(Data(bytes), place: file)]
        }
        let reports = lines.filter { !isAside($0.element) }
        guard !reports.isEmpty else { throw failure("\(file): there is no report in it") }
        return try reports.map { try Recording(Data($0.element), place: "\(file): line \($0.offset + 1)") }
    }

    /// A pause or a step, which come before the report.
    private static func isAside(_ line: ArraySlice<UInt8>) -> Bool {
        guard let value = try? JSONDecoder().decode(JSONValue.self, from: Data(line)) else { return false }
        return value["event"] != nil || value["trace"] != nil
    }

    private static func isBlank(_ line: ArraySlice<UInt8>) -> Bool {
        line.allSatisfy { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\r") }
    }

    private static func failure(_ message: String) -> CommandFailure {
        CommandFailure(message: message, status: ExitStatus.cannotRun)
    }

    /// What of a report is needed before its fields are compared.
    private struct Head: Decodable {
        var name: String?
        var outcome: String
        var job: JobDescription?
    }

    private init(_ data: Data, place: String) throws {
        let head: Head
        do {
            head = try JSONDecoder().decode(Head.self, from: data)
            report = try JSONDecoder().decode(JSONValue.self, from: data)
        } catch let error as DecodingError {
            throw Self.failure("\(place): \(error.place)")
        } catch {
            throw Self.failure("\(place): \(SystemReason(error).text)")
        }
        guard let job = head.job else {
            throw Self.failure(
                "\(place): there is no job in this report: record an image with kvmjob submit --deterministic --json")
        }
        guard !Self.unfinished.contains(head.outcome) else {
            throw Self.failure("\(place): the job never ran (\(head.outcome)), so there is nothing to compare with")
        }
        (self.job, name) = (job, head.name ?? job.spec.label)
    }
}

extension DecodingError {
    /// The key and what is wrong with it: `job.spec.mode: it is missing`.
    var place: String {
        switch self {
        case .typeMismatch(_, let context): Self.describe(context.codingPath, context.debugDescription)
        case .valueNotFound(_, let context): Self.describe(context.codingPath, "it is null")
        case .keyNotFound(let key, let context): Self.describe(context.codingPath + [key], "it is missing")
        case .dataCorrupted(let context): Self.describe(context.codingPath, context.debugDescription)
        @unknown default: String(describing: self)
        }
    }

    private static func describe(_ path: [any CodingKey], _ text: String) -> String {
        var place = ""
        for key in path {
            place += key.intValue.map { "[\($0)]" } ?? (place.isEmpty ? "" : ".") + key.stringValue
        }
        return place.isEmpty ? text : "\(place): \(text)"
    }
}
