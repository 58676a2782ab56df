// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVMJobClient
internal import NIOConcurrencyHelpers

/// Work that goes on where it was when the worker is lost and found again.
struct PatientConnection: Sendable {
    let choice: WorkerChoice
    /// How long the worker is looked for, counted from when something last came of it.
    let patience: Duration
    /// Whether one that is not there at the start is looked for, too.
    var waitsForFirst = false
    let console: Console

    init(choice: WorkerChoice, patience: Duration, console: Console) {
        (self.choice, self.patience, self.console) = (choice, patience, console)
    }

    /// As a command's user wants it.
    init(choice: WorkerChoice, patience: PatienceOption, console: Console) {
        self.init(choice: choice, patience: patience.patience ?? PatienceOption.usual, console: console)
        waitsForFirst = patience.patience != nil
    }

    /// The wait before the first try to find the worker again, and the longest one: each is twice the one before.
    static let delays = (first: Duration.milliseconds(100), longest: Duration.seconds(2))

    /// Works over one connection after the other, until the work returns or fails for good. The work calls `onProgress` when something has
    /// come of it, and begins from where it is when it is called again.
    ///
    /// - Throws: ``CommandFailure`` where the worker is not there, or not any more; what the work throws.
    func run<Value: Sendable>(
        _ work: @escaping @Sendable (JobClient, _ onProgress: @escaping @Sendable () -> Void) async throws -> Value
    ) async throws -> Value {
        let clock = ContinuousClock()
        let last = NIOLockedValueBox<ContinuousClock.Instant?>(waitsForFirst ? clock.now : nil)
        var delay = Self.delays.first
        while true {
            let before = last.withLockedValue { $0 }
            do {
                return try await WorkerConnection.with(choice) { client in
                    last.withLockedValue { $0 = $0 ?? clock.now }
                    return try await work(client) { last.withLockedValue { $0 = clock.now } }
                }
            } catch {
                // Unless somebody says so, a worker that was never there is no worker that went away.
                guard Self.canPass(error), let seen = last.withLockedValue({ $0 }), clock.now - seen < patience else {
                    throw Self.told(error)
                }
                if before == nil || before != seen { delay = Self.delays.first }
                try await Task.sleep(for: delay)
                delay = min(delay * 2, Self.delays.longest)
            }
        }
    }

    /// Whether it may be otherwise with the worker that comes next.
    private static func canPass(_ error: any Error) -> Bool {
        switch error {
        case let error as JobClientError: error.isRetryable || error.code == .noSocket
        case let failure as CommandFailure: failure.status == ExitStatus.broken
        default: false
        }
    }

    private static func told(_ error: any Error) -> any Error {
        guard let error = error as? JobClientError else { return error }
        switch error.refusal?.name {
        // The worker says where to look.
        case "job-unknown": return CommandFailure(message: error.message, status: ExitStatus.failed)
        case nil: return CommandFailure(message: error.message, status: ExitStatus.broken)
        default: return CommandFailure(message: error.message, status: ExitStatus.cannotRun)
        }
    }
}
