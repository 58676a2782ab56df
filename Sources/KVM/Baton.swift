// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import NIOConcurrencyHelpers

/// What the threads of one machine's vCPUs have in common. One of them at a time is with it: whoever holds the baton.
///
/// SAFETY: the value is Sendable here although it need not be by itself, as all that is done to it is done under one lock. Who made the
/// baton does not touch the value by other ways until every holder is done.
public final class Baton<Value>: @unchecked Sendable {
    private let lock = NIOLock()
    /// nil once there is no more for anybody to do.
    private var value: Value?

    /// A baton that nobody holds.
    public init(_ value: Value) { self.value = value }

    /// Waits for the baton, and calls this with it.
    public func hold(_ body: (Value) -> Void) {
        lock.lock()
        defer { lock.unlock() }
        if let value { body(value) }
    }

    /// Lets go of the value, which nobody holds the baton for any more.
    public func close() {
        lock.lock()
        defer { lock.unlock() }
        value = nil
    }

    /// Lets others hold the baton during this call, which does not touch the value. The caller holds it before and afterwards.
    public func release<Result, Failure: Error>(
        during body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        lock.unlock()
        defer { lock.lock() }
        return try body()
    }
}
