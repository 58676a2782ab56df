// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import NIOConcurrencyHelpers

/// What one thread leaves to another: a value that belongs to a thread at a time, such as what holds a ``VirtualCPU``, while it
/// belongs to none. Whoever takes it is alone with it.
///
/// SAFETY: the value is Sendable here although it need not be by itself. Who leaves it promises not to touch it, or what it alone
/// refers to, any more; and the lock gives it to one taker only, who sees all that was done to it before.
public final class Handover<Value>: @unchecked Sendable {
    private let value: NIOLockedValueBox<Value?>

    /// Leaves a value. A vCPU in it is detached.
    public init(_ value: consuming Value) { self.value = NIOLockedValueBox(value) }

    /// The value the first time, nil from then on.
    public func take() -> Value? {
        value.withLockedValue { value in
            defer { value = nil }
            return value
        }
    }
}
