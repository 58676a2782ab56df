// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import NIOConcurrencyHelpers

/// How often the slots of a worker had a machine made for a job, and how often one served again. All calls may come from any thread.
public final class MachineCounts: Sendable {
    private struct State {
        var made: UInt64 = 0
        var reset: UInt64 = 0
    }

    private let state = NIOLockedValueBox(State())

    /// Jobs that had a machine of their own making.
    public var made: UInt64 { state.withLockedValue { $0.made } }
    /// Jobs whose machine was brought back from an earlier one's end.
    public var reset: UInt64 { state.withLockedValue { $0.reset } }

    func noteMade() { state.withLockedValue { $0.made += 1 } }
    func noteReset() { state.withLockedValue { $0.reset += 1 } }
}
