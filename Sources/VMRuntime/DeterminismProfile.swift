// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// What this machine leaves different between two runs of the same deterministic job, here or on another machine.
public struct DeterminismProfile: Sendable, Hashable {
    /// Why no deterministic job can run here; nil where they can.
    public internal(set) var obstacle: String?
    /// For each mode that runs, what a guest can still see. Empty where there is an ``obstacle``.
    public internal(set) var modes: [GuestMode: ModeDeterminism] = [:]
}

/// What a deterministic job's guest can see in one mode although it should not.
public struct ModeDeterminism: Sendable, Hashable {
    /// CPUID leaves that answer with what this machine has instead of the fixed table; rising. Empty where CPUID is fixed.
    public var unfixedLeaves: [UInt32] = []
    /// RDTSC gives the time-stamp counter, which counts real time: from 0, or on a software backend from the host's own count.
    /// Otherwise it ends in an exception.
    public var readsClock = false
    /// RDRAND gives random numbers, although CPUID does not list it. Otherwise it does not run.
    public var readsRandom = false

    /// Nothing differs.
    public init() {}

    /// A mode with its parts.
    public init(unfixedLeaves: [UInt32], readsClock: Bool, readsRandom: Bool) {
        (self.unfixedLeaves, self.readsClock, self.readsRandom) = (unfixedLeaves, readsClock, readsRandom)
    }
}
