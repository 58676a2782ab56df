// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Jobs that have not ended, a line for each; 80 columns where titles are not long.
struct JobTable {
    let jobs: [ListedJob]
    let names: TenantNames
    /// As many characters as a line may have.
    var width = Int.max

    static let heading = ["JOB", "USER", "STATE", "PRI", "MEMORY", "WAITED", "RAN", "TITLE"]
    private static let right: Set<Int> = [0, 3, 4, 5, 6]

    var lines: [String] {
        AlignedColumns(rows: [Self.heading] + jobs.map(row), right: Self.right).lines.map { String($0.prefix(width)) }
    }

    private func row(_ job: ListedJob) -> [String] {
        [
            String(job.id), ShortText.name(names.text(job.tenant), width: TenantTable.nameWidth), job.state.name,
            String(job.priority), SizeText.approximate(job.memoryBytes),
            DurationText.short(nanoseconds: job.queueNanoseconds),
            job.runNanoseconds.map(DurationText.short(nanoseconds:)) ?? "-", ShortText.plain(job.title),
        ]
    }
}

extension ListedJob {
    /// Those that run before those that wait, and of each the one that has for longest.
    static func comesFirst(_ one: ListedJob, _ other: ListedJob) -> Bool {
        guard one.state == other.state else { return one.state.rank < other.state.rank }
        let times = [one, other].map { $0.runNanoseconds ?? $0.queueNanoseconds }
        return times[0] == times[1] ? one.id < other.id : times[0] > times[1]
    }
}

extension ListedJob.State {
    fileprivate var rank: Int {
        switch self {
        case .running: 0
        case .paused: 1
        case .queued: 2
        case .ended: 3
        }
    }
}

/// A job in a list as one JSON object: `id`, `user`, `user_name`, `pid` (the client's, null if unknown), `state` (`queued`, `running`,
/// `paused`, `ended`), `mode`, `priority`, `memory_bytes`, `queue_ns`, `run_ns` (null before its start), `title`. Keys may be added in
/// later versions, never renamed.
struct ListedJobJSON {
    let job: ListedJob
    let names: TenantNames

    var value: JSONValue {
        .object(
            [("id", .count(job.id))] + names.members(job.tenant) + [
                ("pid", .count(job.process)), ("state", .string(job.state.name)), ("mode", .string(job.mode.name)),
                ("priority", .count(job.priority)), ("memory_bytes", .count(job.memoryBytes)),
                ("queue_ns", .count(job.queueNanoseconds)), ("run_ns", .count(job.runNanoseconds)),
                ("title", .string(job.title)),
            ])
    }
}
