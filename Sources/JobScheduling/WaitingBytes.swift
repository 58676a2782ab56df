// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a job keeps in memory while it waits.
public struct Holding: Sendable, Hashable {
    /// Bytes of its own.
    public var bytes: Int
    /// What it has in common with others that wait.
    public var shared: Shared?

    /// Something that many jobs keep in memory together, once.
    public struct Shared: Sendable, Hashable {
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        public var number: UInt64, bytes: Int

        /// A number that nothing else had or will have, and how large it is.
        public init(number: UInt64, bytes: Int) { (self.number, self.bytes) = (number, bytes) }
    }

    /// What a job keeps.
    public init(bytes: Int, shared: Shared? = nil) { (self.bytes, self.shared) = (bytes, shared) }
}

/// What all jobs that wait keep in memory: what several have in common counts once, from the first of them to the last.
struct WaitingBytes: Sendable {
    private(set) var total = 0
    private var shared: [UInt64: (jobs: Int, bytes: Int)] = [:]

    /// How much one job more would add.
    func increase(by holding: Holding) -> Int {
        guard let other = holding.shared, shared[other.number] == nil else { return holding.bytes }
        return holding.bytes + other.bytes
    }

    mutating func add(_ holding: Holding) {
        total += increase(by: holding)
        guard let other = holding.shared else { return }
        shared[other.number, default: (0, other.bytes)].jobs += 1
    }

    mutating func remove(_ holding: Holding) {
        total -= holding.bytes
        guard let other = holding.shared, let (jobs, bytes) = shared[other.number] else { return }
        shared[other.number] = jobs == 1 ? nil : (jobs - 1, bytes)
        if jobs == 1 { total -= bytes }
    }
}
