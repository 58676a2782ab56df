// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVMJobClient

/// The connection that a batch's jobs share, and the next one when it breaks.
actor WorkerSupply {
    /// The longest that a worker may be away: 60 s.
    static let patience = Duration.seconds(60)
    /// The first pause between two attempts to connect: 100 ms; each next one is twice as long, up to ``longestPause``.
    static let firstPause = Duration.milliseconds(100)
    static let longestPause = Duration.seconds(5)

    /// A connection and which one it is.
    struct Link: Sendable {
        let connection: WorkerConnection
        let generation: Int
    }

    private let choice: WorkerChoice
    private let patience: Duration
    private var link: Link
    private var renewal: Task<Link, any Error>?

    /// - Throws: as ``WorkerConnection/open(_:)``: the first connection has to be there at once.
    init(_ choice: WorkerChoice, patience: Duration = WorkerSupply.patience) async throws {
        (self.choice, self.patience) = (choice, patience)
        link = Link(connection: try await .open(choice), generation: 1)
    }

    var current: Link { link }

    /// A connection after this one; who asks for it first brings it about.
    ///
    /// - Parameter isLost: whether the old one is of no use; else the jobs that it has may end on it.
    /// - Throws: ``CommandFailure`` when there is none for ``patience``.
    func replace(_ old: Link, isLost: Bool) async throws {
        guard link.generation == old.generation else { return }
        if let renewal {
            _ = try await renewal.value
            return
        }
        let renewal = Task { try await connect(generation: old.generation + 1) }
        self.renewal = renewal
        defer { self.renewal = nil }
        if isLost { await old.connection.close() }
        link = try await renewal.value
    }

    private func connect(generation: Int) async throws -> Link {
        let deadline = ContinuousClock.now + patience
        var pause = Self.firstPause
        while true {
            do {
                return Link(connection: try await .open(choice), generation: generation)
            } catch let failure as CommandFailure {
                guard ContinuousClock.now + pause < deadline else { throw failure }
            }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, Self.longestPause)
        }
    }

    /// Closes the connection; jobs that have not ended are stopped.
    func close() async {
        renewal?.cancel()
        await link.connection.close()
    }
}
