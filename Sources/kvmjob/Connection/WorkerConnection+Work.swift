// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVMJobClient

extension WorkerConnection {
    /// Connects, works, and closes the connection however the work ends. The first Ctrl-C cancels the work, which may still end as
    /// it likes; the second ends the process.
    ///
    /// - Throws: ``CommandFailure`` when there is no worker, `CancellationError`, and what the work throws.
    static func with<Value: Sendable>(
        _ choice: WorkerChoice, work: @escaping @Sendable (JobClient) async throws -> Value
    ) async throws -> Value {
        let task = Task {
            let connection = try await open(choice)
            let value = await Result.catching { try await work(connection.client) }
            await connection.close()
            return try value.get()
        }
        let interrupts = Interrupts(first: task.cancel)
        defer { withExtendedLifetime(interrupts) {} }
        return try await task.value
    }
}

extension Result where Failure == any Error {
    /// `Result(catching:)` for what has to wait.
    static func catching(_ body: () async throws -> Success) async -> Result {
        do { return .success(try await body()) } catch { return .failure(error) }
    }
}
