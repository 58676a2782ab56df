// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// A ROM, as a PC's firmware is one: the processor starts in it as behind a reset.
///
/// | addresses | content |
/// |---|---|
/// | from 0 | guest memory |
/// | 1 MiB - n to 1 MiB | a copy of the ROM's last n bytes, at most 128 KiB: memory, since firmware writes there |
/// | to 4 GiB | the ROM; what a guest writes there vanishes |
///
/// The first instruction is 16 bytes before the ROM's end, in real mode: CS is 0xF000 with the base 0xFFFF0000, IP 0xFFF0. All registers
/// that the job does not set are zero, but for bit 1 of RFLAGS. Source: Intel's Software Developer's Manual, volume 3, section 10.1.4.
extension GuestLayout {
    /// The most of a ROM that is below 1 MiB, too: 128 KiB.
    public static let shadowBytes = 128 << 10

    private static let shadowEnd: UInt64 = 1 << 20
    private static let resetOffset: UInt64 = 0xFFF0
    private static let (resetSelector, resetBase): (UInt16, UInt64) = (0xF000, 0xFFFF_0000)

    /// Decides where a ROM goes; its place and its start are not for the job to say.
    public init(rom image: [UInt8], spec: JobSpec) throws(Refusal) {
        try Self.checkMemory(spec.memoryBytes)
        try Self.checkROM(image, spec)
        let shadow = Array(image.suffix(Self.shadowBytes))
        var system = SystemArea.systemRegisters(for: .real16)
        (system.cs.selector, system.cs.base) = (Self.resetSelector, Self.resetBase)
        self.init(
            mode: .real16, memoryBytes: spec.memoryBytes,
            pieces: [Piece(address: Self.shadowEnd - UInt64(shadow.count), bytes: shadow)],
            registers: try Self.registers(entry: Self.resetOffset, load: 0, spec: spec), system: system, rom: image)
    }

    private static func checkROM(_ image: [UInt8], _ spec: JobSpec) throws(Refusal) {
        let (count, bounds) = (UInt64(image.count), JobSpec.minimumROMBytes...JobSpec.maximumROMBytes)
        guard bounds.contains(count), count % pageBytes == 0 else {
            throw Refusal(
                .invalidField,
                "a ROM of \(count) bytes: it must be whole pages of 4 KiB, from 64 KiB to 4 MiB",
                limit: count < bounds.lowerBound ? bounds.lowerBound : bounds.upperBound, value: count)
        }
        guard spec.mode == .real16 else {
            throw Refusal(.invalidField, "a ROM starts in real16, and the job's mode is \(spec.mode.name)")
        }
        let placed = spec.loadAddress ?? spec.entryPoint ?? spec.pieces.first?.address
        guard placed == nil else {
            throw Refusal(
                .invalidField, "a ROM has its place and its start: leave load address, entry point and pieces out",
                value: placed)
        }
        guard spec.segments.isEmpty, spec.tables.isEmpty, spec.controls.isEmpty else {
            throw Refusal(
                .invalidField,
                "a ROM starts with the segments and control registers of a reset: leave segments, tables and controls out"
            )
        }
    }
}
