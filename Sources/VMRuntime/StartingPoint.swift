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
    /// The vCPU.
    let processor: Processor
    /// The devices.
    let board: Board
    /// What ends at 4 GiB and the guest cannot write; empty for none.
    let rom: [UInt8]
    /// The process, for a Linux program.
    let program: ProgramStart?
    /// Bytes of host memory that it holds: those of the image and of its mode's tables, and a page for each that they cover in
    /// part; or a machine's pages that were not all zeros.
    public let byteCount: Int

    /// The vCPU's state.
    enum Processor: Sendable {
        /// A new vCPU with these registers. Where CR4 is not fixed to what they say, the machine may turn on what it has.
        case new(Registers, SystemRegisters, fixesCR4: Bool)
        /// All that a vCPU was at some instant.
        case kept(VCPUState)
    }

    /// Decides an image's layout by what the spec says of the start. Which machine will run it, and whether any here can, is another
    /// question.
    public convenience init(image: [UInt8], spec: JobSpec) throws(Refusal) {
        guard spec.mode != .linux else {
            throw Refusal(.invalidField, "a job of mode linux has a program and files, and no image")
        }
        let layout = spec.isROM ? try GuestLayout(rom: image, spec: spec) : try GuestLayout(flat: image, spec: spec)
        self.init(layout, on: spec.board, vcpus: spec.vcpus)
    }

    /// The start of an image.
    init(_ layout: GuestLayout, on board: BoardKind = .bare, vcpus: Int = 1) {
        mode = layout.mode
        memory = PristineMemory(
            bytes: layout.memoryBytes, pieces: layout.pieces.map { (address: $0.address, bytes: $0.bytes) })
        rom = layout.rom
        byteCount = Int(memory.storedBytes) + rom.count
        processor = .new(layout.registers, layout.system, fixesCR4: layout.fixesCR4)
        self.board = Board(
            board, memoryBytes: layout.memoryBytes, romBytes: UInt64(layout.rom.count),
            processors: UInt16(clamping: vcpus))
        program = nil
    }

    /// A start of which all is known.
    init(mode: GuestMode, processor: Processor, memory: PristineMemory, board: Board, program: ProgramStart? = nil) {
        byteCount = Int(memory.storedBytes)
        (self.mode, self.processor, self.memory, self.board, rom) = (mode, processor, memory, board, [])
        self.program = program
    }

    /// The general registers.
    var registers: Registers {
        switch processor {
        case .new(let registers, _, _): registers
        case .kept(let state): state.registers
        }
    }
}
