// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import DequeModule
internal import JobScheduling

/// Jobs by rising key, to be listed a page at a time: finding the next page takes no longer with many jobs than with few.
///
/// Keys of jobs that are gone stay behind, as many as there are jobs and some more. Its owner says which are still there.
struct JobRoster {
    /// As many keys of jobs that are gone may stay, beside one for each that is there.
    static let spareKeys = 64

    private var keys: Deque<JobKey> = []
    private(set) var count = 0

    /// Adds a job. Its key is above all others as a rule; one that comes later than its number is put where it belongs.
    mutating func insert(_ key: JobKey) {
        count += 1
        let index = keys.last.map { $0 < key } ?? true ? keys.endIndex : firstIndex(above: key)
        // It may have been here before, and gone.
        if index > keys.startIndex, keys[index - 1] == key { return }
        keys.insert(key, at: index)
    }

    /// One of the jobs is gone, and not there any more.
    mutating func noteRemoval(where isThere: (JobKey) -> Bool) {
        count -= 1
        if count == 0 { keys.removeAll(keepingCapacity: true) }
        guard keys.count > 2 * count + Self.spareKeys else { return }
        keys.removeAll { !isThere($0) }
    }

    /// The first jobs above this key, and whether there are more.
    func page(after key: JobKey, atMost limit: Int, where isThere: (JobKey) -> Bool) -> (keys: [JobKey], more: Bool) {
        var page: [JobKey] = []
        for index in firstIndex(above: key)..<keys.endIndex where isThere(keys[index]) {
            if page.count == limit { return (page, true) }
            page.append(keys[index])
        }
        return (page, false)
    }

    private func firstIndex(above key: JobKey) -> Int {
        var (low, high) = (keys.startIndex, keys.endIndex)
        while low < high {
            let middle = low + (high - low) / 2
            if keys[middle] <= key { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
