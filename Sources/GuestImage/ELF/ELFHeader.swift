// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The first 64 bytes of a file.
struct ELFHeader {
    static let byteCount: UInt64 = 64
    static let entryOffset: UInt64 = 24
    static let tableOffset: UInt64 = 32

    let isPositionIndependent: Bool
    let entry: UInt64
    /// Where the program headers begin in the file, which has them all.
    let tableStart: UInt64
    let count: UInt64

    /// Bytes of the program headers.
    var tableBytes: UInt64 { count * UInt64(ELFFile.programHeaderBytes) }

    init(_ bytes: ELFBytes) throws(ELFError) {
        try Self.checkIdentity(bytes)
        let type = bytes.half(at: 16)
        guard type == 2 || type == 3 else {
            let known: [UInt16: String] = [1: "an object file that is not linked", 4: "a core"]
            throw ELFError(
                .notLoadable, at: 16,
                "the file is \(known[type] ?? "of type \(type)"): it must be a program or a shared object (type 2 or 3)"
            )
        }
        isPositionIndependent = type == 3
        entry = bytes.long(at: Self.entryOffset)
        tableStart = bytes.long(at: Self.tableOffset)
        count = UInt64(bytes.half(at: 56))
        try checkTable(bytes)
    }

    func programHeaders(in bytes: ELFBytes) -> [ELFProgramHeader] {
        (0..<count).map { ELFProgramHeader(bytes, at: tableStart + $0 * UInt64(ELFFile.programHeaderBytes)) }
    }

    private static func checkIdentity(_ bytes: ELFBytes) throws(ELFError) {
        guard bytes.has(4, at: 0), bytes[0, 4].elementsEqual([0x7F, 0x45, 0x4C, 0x46]) else {
            throw ELFError(.notELF, at: 0, "the file does not begin with 7F 45 4C 46, as an ELF file does")
        }
        try bytes.check(byteCount, at: 0, "the ELF header")
        for (offset, expected, name) in [
            (UInt64(4), UInt8(2), "64-bit"), (5, 1, "little-endian"), (6, 1, "of version 1"),
        ] {
            let found = bytes.byte(at: offset)
            guard found == expected else {
                throw ELFError(
                    .otherMachine, at: offset, "the file is not \(name): the byte is \(found) and must be \(expected)")
            }
        }
        let machine = bytes.half(at: 18)
        guard machine == 62 else {
            throw ELFError(.otherMachine, at: 18, "the file is for machine \(machine): it must be for x86-64 (62)")
        }
    }

    private func checkTable(_ bytes: ELFBytes) throws(ELFError) {
        let size = bytes.half(at: 54)
        guard size == ELFFile.programHeaderBytes else {
            throw ELFError(
                .programHeaders, at: 54,
                "a program header of \(size) bytes: it must have \(ELFFile.programHeaderBytes)")
        }
        guard (1...UInt64(ELFFile.programHeaderLimit)).contains(count) else {
            throw ELFError(
                .programHeaders, at: 56,
                "\(count) program headers: there must be 1 to \(ELFFile.programHeaderLimit) of them")
        }
        try bytes.check(tableBytes, at: tableStart, "the table of program headers")
    }
}

/// An entry of the table that says what a loader does with a file.
struct ELFProgramHeader {
    struct Kind: Equatable {
        let value: UInt32
        static let load = Kind(value: 1)
        static let dynamic = Kind(value: 2)
        static let interpreter = Kind(value: 3)
        static let headers = Kind(value: 6)
        static let stack = Kind(value: 0x6474_E551)
    }

    /// Where the header itself is in the file.
    let place: UInt64
    let type: Kind
    let flags: UInt32
    let offset: UInt64
    let address: UInt64
    let fileBytes: UInt64
    let memoryBytes: UInt64
    let alignment: UInt64

    init(_ bytes: ELFBytes, at place: UInt64) {
        self.place = place
        type = Kind(value: bytes.word(at: place))
        flags = bytes.word(at: place + 4)
        offset = bytes.long(at: place + 8)
        address = bytes.long(at: place + 16)
        fileBytes = bytes.long(at: place + 32)
        memoryBytes = bytes.long(at: place + 40)
        alignment = bytes.long(at: place + 48)
    }

    func segment(in bytes: ELFBytes, addressLimit: UInt64) throws(ELFError) -> ELFFile.Segment {
        guard fileBytes <= memoryBytes else {
            throw ELFError(
                .segmentSize, at: place,
                "a segment of \(memoryBytes) bytes in memory cannot have \(fileBytes) bytes in the file")
        }
        guard address < addressLimit, memoryBytes <= addressLimit - address else {
            throw ELFError(
                .addressRange, at: place,
                "the segment of \(memoryBytes) bytes at \(address.hexadecimal) must end at or below "
                    + addressLimit.hexadecimal)
        }
        try bytes.check(fileBytes, at: offset, "the segment at \(address.hexadecimal)")
        let alignment = max(alignment, 1)
        guard alignment & (alignment - 1) == 0 else {
            throw ELFError(
                .segmentAlignment, at: place, "an alignment of \(alignment.hexadecimal) must be a power of two")
        }
        return ELFFile.Segment(
            address: address, memoryBytes: memoryBytes, fileOffset: offset, fileBytes: fileBytes,
            rights: ELFFile.Segment.Rights(rawValue: flags & 7), alignment: alignment)
    }
}
