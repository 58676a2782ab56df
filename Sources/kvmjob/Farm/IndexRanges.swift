// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Indexes as Slurm writes them: `0-3,7`.
struct IndexRanges: Sendable, Hashable {
    /// Rising, each once.
    let indexes: [Int]

    init(_ indexes: some Sequence<Int>) { self.indexes = Set(indexes).sorted() }

    var text: String {
        var ranges: [ClosedRange<Int>] = []
        for index in indexes {
            if let last = ranges.last, last.upperBound == index - 1 {
                ranges[ranges.count - 1] = last.lowerBound...index
            } else {
                ranges.append(index...index)
            }
        }
        return ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
            .joined(separator: ",")
    }
}
