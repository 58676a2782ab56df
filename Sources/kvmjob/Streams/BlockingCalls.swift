// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch

extension DispatchQueue {
    /// Runs a call that may block on this queue, so that it does not hold up the threads that `async` code shares.
    func perform<Success: Sendable>(_ call: @escaping @Sendable () throws -> Success) async throws -> Success {
        try await withCheckedThrowingContinuation { continuation in
            self.async { continuation.resume(with: Result(catching: call)) }
        }
    }
}
