// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Where an image's bytes go: one place, or piece after piece of it somewhere else. All in guest memory, none over another, none
/// where the mode keeps its tables.
struct ImagePlacement {
    /// Never empty; their counts add up to the image's.
    private let ranges: [MemoryRange]
    /// The address of the first instruction: the job's, or the load address.
    let entryPoint: UInt64

    /// The address of the image's first byte.
    var loadAddress: UInt64 { ranges[0].address }

    /// - Parameters:
    ///   - image: not empty.
    ///   - system: what the vCPU starts with, which decides whether the mode keeps tables.
    init(of image: [UInt8], spec: JobSpec, system: SystemRegisters) throws(Refusal) {
        let hasTables = SystemArea.isUsed(by: system, mode: spec.mode)
        guard !spec.pieces.isEmpty else {
            let load = spec.loadAddress ?? GuestLayout.defaultLoadAddress(of: image, mode: spec.mode)
            ranges = [MemoryRange(address: load, count: UInt64(image.count))]
            entryPoint = spec.entryPoint ?? load
            try Self.check(ranges[0], named: "the image", spec: spec, hasTables: hasTables)
            return
        }
        entryPoint = try Self.entryPoint(of: spec)
        try Self.checkCounts(spec.pieces, imageBytes: UInt64(image.count))
        try Self.checkOverlaps(spec.pieces)
        for (index, range) in spec.pieces.enumerated() {
            try Self.check(range, named: "piece \(index) of the image", spec: spec, hasTables: hasTables)
        }
        ranges = spec.pieces
    }

    /// The image, cut up. In one piece it is the image itself and no copy of it.
    func pieces(of image: [UInt8]) -> [GuestLayout.Piece] {
        if ranges.count == 1 { return [GuestLayout.Piece(address: loadAddress, bytes: image)] }
        var rest = image[...]
        return ranges.map { range in
            defer { rest = rest.dropFirst(Int(range.count)) }
            return GuestLayout.Piece(address: range.address, bytes: Array(rest.prefix(Int(range.count))))
        }
    }

    // MARK: Pieces

    private static func entryPoint(of spec: JobSpec) throws(Refusal) -> UInt64 {
        guard spec.loadAddress == nil else {
            throw Refusal(.invalidField, "a load address and pieces exclude each other: each piece has its own address")
        }
        guard let entry = spec.entryPoint else {
            throw Refusal(.invalidField, "an image in pieces needs an entry point: no piece is the natural one")
        }
        return entry
    }

    private static func checkCounts(_ pieces: [MemoryRange], imageBytes: UInt64) throws(Refusal) {
        let limit = MemoryRange.pieceLimit
        guard pieces.count <= limit else {
            throw Refusal(
                .invalidField, "\(pieces.count) pieces: an image has at most \(limit)", limit: UInt64(limit),
                value: UInt64(pieces.count))
        }
        if let empty = pieces.firstIndex(where: { $0.count == 0 }) {
            throw Refusal(.invalidField, "piece \(empty) has no bytes: leave it out")
        }
        // Saturating: the sum of hostile counts may be beyond 64 bits.
        let total = pieces.reduce(UInt64(0)) { sum, piece in
            let next = sum.addingReportingOverflow(piece.count)
            return next.overflow ? .max : next.partialValue
        }
        guard total == imageBytes else {
            throw Refusal(
                .invalidField, "the pieces have \(total) bytes together, and the image has \(imageBytes)",
                limit: imageBytes, value: total)
        }
    }

    /// Sorted by address, a piece can only run into the next one.
    private static func checkOverlaps(_ pieces: [MemoryRange]) throws(Refusal) {
        let sorted = pieces.sorted { $0.address < $1.address }
        for (before, after) in zip(sorted, sorted.dropFirst()) where (before.end ?? .max) > after.address {
            throw Refusal(
                .invalidField,
                "the piece of \(before.count) bytes at \(before.address.hexadecimal) runs into the one at \(after.address.hexadecimal)",
                limit: after.address, value: before.address)
        }
    }

    // MARK: Places

    private static func check(
        _ range: MemoryRange, named name: String, spec: JobSpec, hasTables: Bool
    ) throws(Refusal) {
        let start = range.address
        guard let end = range.end, end <= spec.memoryBytes else {
            throw Refusal(
                .imageOutsideMemory,
                "\(name), \(range.count) bytes at \(start.hexadecimal), does not fit in \(spec.memoryBytes) bytes of guest memory: "
                    + "ask for more memory or another address",
                limit: spec.memoryBytes, value: start)
        }
        guard spec.mode != .user64 || start >= GuestLayout.pageBytes else {
            throw Refusal(
                .imageOverlapsSystemArea,
                "\(name) at \(start.hexadecimal) covers page 0, which user64 keeps unmapped: load it elsewhere",
                limit: GuestLayout.pageBytes, value: start)
        }
        guard hasTables, start < SystemArea.end, end > SystemArea.start else { return }
        let area = "\(SystemArea.start.hexadecimal)-\((SystemArea.end - 1).hexadecimal)"
        throw Refusal(
            .imageOverlapsSystemArea,
            "\(name) at \(start.hexadecimal) covers \(area), where \(spec.mode.name) keeps its descriptor and page tables: "
                + "load it elsewhere",
            limit: SystemArea.end, value: start)
    }
}
