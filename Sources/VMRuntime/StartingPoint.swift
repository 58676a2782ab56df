// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
public import JobModel
internal import KVM

/// What a machine has to be when a job starts in it: memory, vCPU and devices. Never changes, and is shared by all jobs that
/// start from it.
public final class StartingPoint: Sendable {
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
    /// Bytes that it holds: the image's, and the tables of its mode.
    public let byteCount: Int

    /// Decides an image's layout by what the spec says of the start. Which machine will run it, and whether any here can, is another
    /// question.
    public convenience init(image: [UInt8], spec: JobSpec) throws(Refusal) {
        self.init(try GuestLayout(flat: image, spec: spec))
    }

    /// The start of an image.
    init(_ layout: GuestLayout) {
        byteCount = layout.pieces.reduce(0) { $0 + $1.bytes.count }
        mode = layout.mode
        memory = PristineMemory(
            bytes: layout.memoryBytes, pieces: layout.pieces.map { (address: $0.address, bytes: $0.bytes) })
        (registers, system, fixesCR4) = (layout.registers, layout.system, layout.fixesCR4)
    }
}
