// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// An entry of the table that says what a loader does with a file.
struct ELFProgramHeader {
    struct Kind: Equatable {
        let value: UInt32
        static let load = Kind(value: 1)
        static let dynamic = Kind(value: 2)
        static let interpreter = Kind(value: 3)
        static let note = Kind(value: 4)
        static let headers = Kind(value: 6)
        static let stack = Kind(value: 0x6474_E551)
    }

    /// Which of its addresses a segment is at: a program's is that of its own address space, a kernel's that of memory.
    enum Space {
        case virtual, physical

        /// The field's name.
        var field: String { self == .virtual ? "p_vaddr" : "p_paddr" }
    }

    /// Where the header itself is in the file.
    let place: UInt64
    let type: Kind
    let flags: UInt32
    let offset: UInt64
    let address: UInt64
    let physicalAddress: UInt64
    let fileBytes: UInt64
    let memoryBytes: UInt64
    let alignment: UInt64

    init(_ bytes: ImageBytes, at place: UInt64, _ fileClass: ELFClass) {
        self.place = place
        type = Kind(value: bytes.word(at: place))
        let is32 = fileClass == .bits32
        flags = bytes.word(at: place + (is32 ? 24 : 4))
        // The other fields are as wide as an address, in this order.
        let start = place + (is32 ? 4 : 8)
        let behindFlags = is32 ? place + 28 : place + 48
        let width = UInt64(fileClass.addressBits / 8)
        let field = { (index: UInt64) in fileClass.address(bytes, at: start + index * width) }
        (offset, address, physicalAddress) = (field(0), field(1), field(2))
        (fileBytes, memoryBytes) = (field(3), field(4))
        alignment = fileClass.address(bytes, at: behindFlags)
    }

    /// Whether a loader makes a segment of this. One that has bytes in the file and none in memory is wrong, and not passed over.
    var belongsInMemory: Bool { type == .load && (memoryBytes > 0 || fileBytes > 0) }

    /// The segment that a loader makes of this, its numbers checked one against the other.
    ///
    /// - Parameter addressLimit: the first address that the segment may not reach.
    func segment(
        in bytes: ImageBytes, at space: Space = .virtual, addressLimit: UInt64
    ) throws(ELFError) -> ELFFile.Segment {
        let address = space == .virtual ? address : physicalAddress
        guard fileBytes <= memoryBytes else {
            throw ELFError(
                .segmentSize, "p_filesz", fileBytes, at: place,
                "a segment of \(memoryBytes) bytes in memory cannot have \(fileBytes) bytes in the file")
        }
        guard address < addressLimit, memoryBytes <= addressLimit - address else {
            let isBehind = address >= addressLimit
            throw ELFError(
                .addressRange, isBehind ? space.field : "p_memsz", isBehind ? address : memoryBytes, at: place,
                "the segment of \(memoryBytes) bytes at \(address.hexadecimal) must end at or below "
                    + addressLimit.hexadecimal)
        }
        try bytes.check(
            fileBytes, at: offset, by: ("p_offset", "p_filesz"), "the segment at \(address.hexadecimal)")
        let alignment = max(alignment, 1)
        guard alignment & (alignment - 1) == 0 else {
            throw ELFError(
                .segmentAlignment, "p_align", alignment, at: place,
                "an alignment of \(alignment.hexadecimal) must be a power of two")
        }
        return ELFFile.Segment(
            address: address, memoryBytes: memoryBytes, fileOffset: offset, fileBytes: fileBytes,
            rights: ELFFile.Segment.Rights(rawValue: flags & 7), alignment: alignment)
    }
}
