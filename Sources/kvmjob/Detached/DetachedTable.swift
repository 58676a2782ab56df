// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol

/// The detached jobs that a worker keeps, a line for each.
struct DetachedTable {
    let jobs: [DetachedJob]
    let names: TenantNames
    /// Seconds since 1970.
    let now: UInt64
    /// As many characters as a line may have.
    var width = Int.max

    static let heading = ["ID", "USER", "STATE", "RUN", "OUTCOME", "AGE", "OUTPUT", "TITLE"]
    private static let right: Set<Int> = [0, 3, 5, 6]

    var lines: [String] {
        AlignedColumns(rows: [Self.heading] + jobs.map(row), right: Self.right).lines.map { String($0.prefix(width)) }
    }

    private func row(_ job: DetachedJob) -> [String] {
        [
            String(job.id), ShortText.name(names.text(job.tenant), width: TenantTable.nameWidth), job.state.name,
            String(job.run), job.outcomeName ?? "-", age(job), SizeText.approximate(job.outputBytes),
            ShortText.plain(job.title),
        ]
    }

    /// Since its acceptance; clocks that were set back make none older.
    private func age(_ job: DetachedJob) -> String {
        let seconds = now > job.acceptedAt ? now - job.acceptedAt : 0
        let (nanoseconds, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return DurationText.short(nanoseconds: overflow ? .max : nanoseconds)
    }
}

extension DetachedJob {
    /// How it ended, by the outcome's stable name; nil for one that has not.
    var outcomeName: String? { outcome.flatMap(OutcomeNumber.init(rawValue:))?.name }
}

/// A detached job as one JSON object: `id`, `user`, `user_name`, `state` (`waiting`, `running`, `ended`), `run` (how often it was
/// started), `outcome` (null before its end), `accepted_at` and `ended_at` (seconds since 1970, null before its end), `output_bytes`,
/// `title`, `key`. Keys may be added in later versions, never renamed.
struct DetachedJobJSON {
    let job: DetachedJob
    let names: TenantNames

    var value: JSONValue {
        .object(
            [("id", .count(job.id))] + names.members(job.tenant) + [
                ("state", .string(job.state.name)), ("run", .count(job.run)), ("outcome", .text(job.outcomeName)),
                ("accepted_at", .count(job.acceptedAt)), ("ended_at", .count(job.endedAt)),
                ("output_bytes", .count(job.outputBytes)), ("title", .string(job.title)), ("key", .text(job.key)),
            ])
    }
}
