// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

extension LaunchPlan {
    /// Bytes at an address of guest memory.
    public struct Piece: Sendable, Hashable {
        /// The address of the first.
        public var address: UInt64
        /// The bytes.
        public var bytes: [UInt8]
    }

    /// All bytes that a worker has to put into memory, by rising address; what adjoins is one piece.
    public var pieces: [Piece] {
        var pieces: [Piece] = []
        for region in map.regions where !region.bytes.isEmpty {
            if let last = pieces.last, last.address + UInt64(last.bytes.count) == region.address {
                pieces[pieces.count - 1].bytes += region.bytes
            } else {
                pieces.append(Piece(address: region.address, bytes: Array(region.bytes)))
            }
        }
        return pieces
    }

    /// A job takes a limited number of pieces.
    func checkPieces() throws(LaunchError) {
        var (count, end) = (0, UInt64?.none)
        for region in map.regions where !region.bytes.isEmpty {
            if end != region.address { count += 1 }
            end = region.address + UInt64(region.bytes.count)
        }
        guard count <= MemoryRange.pieceLimit else {
            throw LaunchError(
                .tooMany, "segments", UInt64(count),
                "what is loaded lies in so many separate places, and there can be \(MemoryRange.pieceLimit): link the image with fewer gaps"
            )
        }
    }

    /// The image and the job as a worker takes them: the bytes of all pieces one after the other, and where each goes.
    ///
    /// - Parameter spec: what the user says of the job. First values of registers that it has stay.
    public func job(_ spec: JobSpec) -> (spec: JobSpec, image: [UInt8]) {
        if let rom { return (job(spec, startingIn: rom), Array(rom.bytes)) }
        var spec = spec
        (spec.mode, spec.memoryBytes) = (mode, memoryBytes)
        (spec.loadAddress, spec.entryPoint) = (nil, spec.entryPoint ?? entryPoint)
        spec.registers.merge(registers) { own, _ in own }
        spec.segments.merge(segments) { own, _ in own }
        spec.tables.merge(tables) { own, _ in own }
        spec.controls.merge(controls) { own, _ in own }
        let pieces = pieces
        spec.pieces = pieces.map { MemoryRange(address: $0.address, count: UInt64($0.bytes.count)) }
        return (spec, pieces.flatMap(\.bytes))
    }

    /// Where a ROM goes and how the processor starts in it, the worker knows; it needs the board of a PC.
    private func job(_ spec: JobSpec, startingIn rom: ROMImage) -> JobSpec {
        var spec = spec
        (spec.isROM, spec.board, spec.mode, spec.memoryBytes) = (true, .pc, mode, memoryBytes)
        return spec
    }
}
