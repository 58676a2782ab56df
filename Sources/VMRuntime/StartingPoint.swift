// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// What a machine has to be when a job starts in it: memory, vCPU and devices. Never changes, and is shared by all jobs that
/// start from it.
final class StartingPoint: Sendable {
    /// The mode that the vCPU starts in.
    let mode: GuestMode
    /// All of guest memory.
    let memory: PristineMemory
    /// The general registers.
    let registers: Registers
    /// The segments, descriptor tables and control registers.
    let system: SystemRegisters
    /// Whether CR4 is exactly what ``system`` says; otherwise the machine may turn on what it has.
    let fixesCR4: Bool

    /// The start of an image.
    init(_ layout: GuestLayout) {
        mode = layout.mode
        memory = PristineMemory(
            bytes: layout.memoryBytes, pieces: layout.pieces.map { (address: $0.address, bytes: $0.bytes) })
        (registers, system, fixesCR4) = (layout.registers, layout.system, layout.fixesCR4)
    }
}
