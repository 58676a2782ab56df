// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVMJobClient

extension WorkerChoice {
    /// Asks or tells a worker that outlives this command.
    ///
    /// - Throws: ``CommandFailure`` where there is none, and when it does not answer; what the work throws.
    func asking<Value: Sendable>(
        _ work: @escaping @Sendable (JobClient, _ place: String) async throws -> Value
    ) async throws -> Value {
        guard let place else {
            throw CommandFailure.broken(
                "there is no worker to ask: nothing is at \(Self.defaultPath), and one in this process would know nothing. "
                    + "Start kvmjobd.socket, or name a worker with --socket or --host")
        }
        return try await WorkerConnection.with(self) { client in
            try await WorkerConnection.telling { try await work(client, place) }
        }
    }
}

extension Console {
    /// Lines of what was asked for.
    func show(_ lines: [String]) async throws { try await output.write(Array(lines.map { $0 + "\n" }.joined().utf8)) }

    /// JSON on a line of its own.
    func show(_ value: JSONValue) async throws { try await output.write(value.bytes + [UInt8(ascii: "\n")]) }
}
