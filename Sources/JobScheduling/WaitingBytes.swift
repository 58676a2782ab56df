// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a job keeps in memory while it waits.
public struct Holding: Sendable, Hashable {
    /// Bytes of its own.
    public var bytes: Int
    /// What it has in common with others that wait.
    public var shared: Shared?
    /// Of a program, the layers of its files, each of which others may have beside layers of their own.
    public var layers: [Shared]

    /// Something that many jobs keep in memory together, once.
    public struct Shared: Sendable, Hashable {
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        public var number: UInt64, bytes: Int

        /// A number that nothing else had or will have, and how large it is.
        public init(number: UInt64, bytes: Int) { (self.number, self.bytes) = (number, bytes) }
    }

    /// What a job keeps.
    public init(bytes: Int, shared: Shared? = nil, layers: [Shared] = []) {
        (self.bytes, self.shared, self.layers) = (bytes, shared, layers)
    }
}

/// What all jobs that wait keep in memory: what several have in common counts once, from the first of them to the last.
struct WaitingBytes: Sendable {
    private(set) var total = 0
    private var shared: [UInt64: (jobs: Int, bytes: Int)] = [:]

    /// How much one job more would add.
    func increase(by holding: Holding) -> Int {
        var bytes = holding.bytes
        if let other = holding.shared { bytes += increase(by: other) }
        for layer in holding.layers { bytes += increase(by: layer) }
        return bytes
    }

    private func increase(by other: Holding.Shared) -> Int { shared[other.number] == nil ? other.bytes : 0 }

    mutating func add(_ holding: Holding) {
        total += increase(by: holding)
        if let other = holding.shared { add(other) }
        for layer in holding.layers { add(layer) }
    }

    private mutating func add(_ other: Holding.Shared) { shared[other.number, default: (0, other.bytes)].jobs += 1 }

    mutating func remove(_ holding: Holding) {
        total -= holding.bytes
        if let other = holding.shared { remove(other) }
        for layer in holding.layers { remove(layer) }
    }

    private mutating func remove(_ other: Holding.Shared) {
        guard let (jobs, bytes) = shared[other.number] else { return }
        shared[other.number] = jobs == 1 ? nil : (jobs - 1, bytes)
        if jobs == 1 { total -= bytes }
    }
}
