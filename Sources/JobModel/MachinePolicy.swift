// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Which jobs may follow one another on the same machine.
///
/// Before every job its machine is brought to where the job starts, whatever ran on it before; this says how much rests on that.
public enum MachinePolicy: String, Sendable, Hashable, CaseIterable {
    /// Any job may follow any other.
    case pooled
    /// Only jobs of one user follow one another, as the kernel tells who a client is. A client without a user shares with nobody.
    case tenant
    /// No job follows another: each has a new machine.
    case fresh
}
