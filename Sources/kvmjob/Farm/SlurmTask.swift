// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A task of an array, as `squeue` lists it.
struct SlurmTask: Sendable, Hashable {
    /// The array's number.
    var array: String
    /// The task's index in it, which is its chunk.
    var chunk: Int
    /// Such as `PENDING`: squeue(1), JOB STATE CODES.
    var state: String
    /// When it begins or began: a time, or `N/A`.
    var start: String
    /// Its machines, in Slurm's short form.
    var nodes: String
    /// Why it waits: squeue(1), JOB REASON CODES, or a sentence.
    var reason: String

    /// What `squeue` is asked for. The reason comes last, since it may have anything in it.
    static let format = "%F|%K|%T|%S|%N|%r"

    /// The tasks that `squeue --noheader --array --format` prints, one a line.
    ///
    /// - Throws: ``ValueError`` for a line that is none.
    static func parse(_ text: String) throws(ValueError) -> [SlurmTask] {
        var tasks: [SlurmTask] = []
        for line in text.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: "|", maxSplits: 5, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 6, !parts[0].isEmpty, parts[0].allSatisfy(\.isNumber), let chunk = Int(parts[1]) else {
                throw ValueError("squeue printed what is no task of an array: \(line)")
            }
            tasks.append(
                SlurmTask(
                    array: parts[0], chunk: chunk, state: parts[2], start: parts[3], nodes: parts[4],
                    reason: parts[5]))
        }
        return tasks
    }

    /// As `scontrol` and `scancel` know it.
    var id: String { "\(array)_\(chunk)" }
    var isWaiting: Bool { state == "PENDING" }

    /// Whether it still is to run, runs or is being cleaned up; what is in no such state has ended.
    var isActive: Bool { !Self.ends.contains(state) }

    /// States from which nothing comes any more without somebody's doing.
    private static let ends: Set = [
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
        "REVOKED", "TIMEOUT", "SPECIAL_EXIT",
    ]

    /// Whether it waits only because Slurm holds a requeued task back for two minutes; its user may end that.
    var isHeldBack: Bool { isWaiting && reason == "BeginTime" }
}

/// A machine, as `sinfo` lists it.
struct SlurmNode: Sendable, Hashable {
    var name: String
    /// Such as `idle`, `drained` or `down*`; a star is for one that does not answer.
    var state: String
    /// Why it is down or drained, in its administrator's or Slurm's words; `none` for one that is not.
    var reason: String

    /// What `sinfo` is asked for.
    static let format = "%N|%T|%E"

    /// The machines that `sinfo --noheader --Node --format` prints: each once, though it prints one for each partition.
    ///
    /// - Throws: ``ValueError`` for a line that is none.
    static func parse(_ text: String) throws(ValueError) -> [SlurmNode] {
        var nodes: [SlurmNode] = []
        var seen: Set<String> = []
        for line in text.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: "|", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 3, !parts[0].isEmpty else {
                throw ValueError("sinfo printed what is no machine: \(line)")
            }
            guard seen.insert(parts[0]).inserted else { continue }
            nodes.append(SlurmNode(name: parts[0], state: parts[1], reason: parts[2]))
        }
        return nodes
    }

    /// Whether it takes no new task until an administrator says so.
    var isDrained: Bool { state.hasPrefix("drain") }
    /// Whether it is lost.
    var isDown: Bool { state.hasPrefix("down") || state.hasSuffix("*") }
}
