// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// In how many chunks a batch is split.
///
/// A chunk is what a scheduler starts, at some tenths of a second each, and what is begun again when a machine is lost: it should take
/// about ``chunkSeconds``. There are at least ``chunksPerNode`` for each machine, so that none waits long for the last one.
struct ChunkPlan: Sendable, Hashable {
    /// The most chunks: 1000, since Slurm's arrays have indexes up to 1000 unless their administrator says otherwise
    /// (`MaxArraySize`).
    static let chunkLimit = 1000
    /// Chunks for each machine, where there are as many jobs: 4.
    static let chunksPerNode = 4
    /// Of a larger cluster no more machines are counted: 64. Whether a batch gets more is for others to say.
    static let nodeLimit = 64
    /// What a job is taken to need where nobody knows, unless its wall-time budget is less: 1 s.
    static let usualJobSeconds = 1.0

    var jobs: Int
    /// What one job takes in a slot.
    var jobSeconds = ChunkPlan.usualJobSeconds
    /// What a chunk should take: 60 s unless the user says otherwise.
    var chunkSeconds = 60.0
    /// Jobs of a chunk that run at once.
    var slots = 4
    var nodes = 1

    /// At least 1.
    var chunks: Int {
        let perChunk = chunkSeconds * Double(slots) / max(jobSeconds, 1e-6)
        let byTime = Double(jobs) / max(perChunk, 1)
        let byNodes = Self.chunksPerNode * min(max(nodes, 1), Self.nodeLimit)
        let wanted = max(Int(byTime.rounded(.up).clamped(to: 1...Double(Self.chunkLimit))), byNodes)
        return max(1, min(wanted, jobs, Self.chunkLimit))
    }

    /// The jobs in their chunks, in their order; sizes differ by one at most.
    func split<Job>(_ jobs: [Job]) -> [[Job]] {
        let count = chunks
        return (0..<count).map { index in
            Array(jobs[jobs.count * index / count..<jobs.count * (index + 1) / count])
        }
    }

    /// What a job may be taken to need by the wall-time budgets of all, in seconds.
    static func declaredSeconds(_ budgets: [Double]) -> Double {
        guard !budgets.isEmpty else { return usualJobSeconds }
        return budgets.reduce(0) { $0 + min($1, usualJobSeconds) } / Double(budgets.count)
    }
}

extension Double {
    fileprivate func clamped(to range: ClosedRange<Double>) -> Double {
        Swift.min(Swift.max(self, range.lowerBound), range.upperBound)
    }
}
