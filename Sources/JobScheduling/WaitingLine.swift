// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import DequeModule
internal import JobModel

/// The jobs of one tenant that wait to be given to the slots: the highest priority first, and in it first come, first served.
///
/// A job that leaves from the middle leaves its key behind, to be passed over later: so leaving takes no longer with many jobs than
/// with few. Its owner says which keys still wait.
struct WaitingLine: Sendable {
    private struct Level: Sendable {
        var keys: Deque<JobKey> = []
        /// How many of ``keys`` still wait.
        var count = 0
    }

    /// As many keys may be left behind as there are jobs, and so many more.
    private static let spareKeys = 64

    private var levels: [Level] = []
    private(set) var count = 0

    mutating func append(_ key: JobKey, _ priority: UInt8) {
        let level = Int(priority)
        while levels.count <= level { levels.append(Level()) }
        levels[level].keys.append(key)
        levels[level].count += 1
        count += 1
    }

    /// The one that goes first.
    mutating func first(where waits: (JobKey) -> Bool) -> JobKey? {
        guard count > 0, let level = levels.lastIndex(where: { $0.count > 0 }) else { return nil }
        while let key = levels[level].keys.first, !waits(key) { levels[level].keys.removeFirst() }
        return levels[level].keys.first
    }

    /// The first one has left.
    mutating func removeFirst() {
        guard let level = levels.lastIndex(where: { $0.count > 0 }) else { return }
        levels[level].keys.removeFirst()
        levels[level].count -= 1
        count -= 1
    }

    /// One of this priority has left, and is none that waits any more.
    mutating func noteRemoval(_ priority: UInt8, where waits: (JobKey) -> Bool) {
        let level = Int(priority)
        levels[level].count -= 1
        count -= 1
        guard levels[level].keys.count > 2 * levels[level].count + Self.spareKeys else { return }
        levels[level].keys.removeAll { !waits($0) }
    }

    /// How many go before a newcomer of this priority.
    func countBefore(_ priority: UInt8) -> Int { levels.dropFirst(Int(priority)).reduce(0) { $0 + $1.count } }
}
