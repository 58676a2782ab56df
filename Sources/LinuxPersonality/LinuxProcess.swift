// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// A Linux program that runs as a guest, with everything that a kernel would know of its process.
///
/// A value without a clock, a socket or a vCPU: it is told of a system call or a fault and says what comes of it. A copy of it,
/// with a copy of guest memory and of the vCPU, is a process of its own that goes on from there.
public struct LinuxProcess: Sendable {
    /// Guest memory as the program sees it.
    var space: AddressSpace
    /// What descriptors stand for, as far as it can be mapped.
    var filesForMapping: [Int32: FileBytes] = [:]
}
