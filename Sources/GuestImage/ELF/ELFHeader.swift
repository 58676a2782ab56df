// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// How wide addresses are in a file (`EI_CLASS`), which decides where its fields are.
enum ELFClass: UInt8, Sendable, Hashable {
    /// `ELFCLASS32`, for i386.
    case bits32 = 1
    /// `ELFCLASS64`, for x86-64.
    case bits64 = 2

    /// Where `e_entry` is.
    static let entryOffset: UInt64 = 24

    var addressBits: Int { self == .bits32 ? 32 : 64 }
    /// Bytes of the header.
    var headerBytes: UInt64 { self == .bits32 ? 52 : 64 }
    /// Bytes of a program header.
    var programHeaderBytes: UInt64 { self == .bits32 ? 32 : UInt64(ELFFile.programHeaderBytes) }
    /// Where `e_phoff` is.
    var tableOffset: UInt64 { self == .bits32 ? 28 : 32 }
    /// Where `e_phentsize` is, and behind it `e_phnum`.
    var sizeOffset: UInt64 { self == .bits32 ? 42 : 54 }
    /// The machine that files of this class are for: `EM_386`, `EM_X86_64`.
    var machine: UInt16 { self == .bits32 ? 3 : 62 }
    var machineName: String { self == .bits32 ? "i386" : "x86-64" }

    /// An address, or what is as wide as one.
    func address(_ bytes: ImageBytes, at offset: UInt64) -> UInt64 {
        self == .bits32 ? UInt64(bytes.word(at: offset)) : bytes.long(at: offset)
    }
}

/// The first bytes of a file: 52 or 64.
struct ELFHeader {
    let fileClass: ELFClass
    let isPositionIndependent: Bool
    let entry: UInt64
    /// Where the program headers begin in the file, which has them all.
    let tableStart: UInt64
    let count: UInt64

    /// Bytes of the program headers.
    var tableBytes: UInt64 { count * fileClass.programHeaderBytes }

    /// - Parameter classes: those that may be there.
    init(_ bytes: ImageBytes, classes: Set<ELFClass> = [.bits64]) throws(ELFError) {
        fileClass = try Self.checkIdentity(bytes, classes)
        let type = bytes.half(at: 16)
        guard type == 2 || type == 3 else {
            let known: [UInt16: String] = [1: "an object file that is not linked", 4: "a core"]
            throw ELFError(
                .notLoadable, "e_type", UInt64(type), at: 16,
                "the file is \(known[type] ?? "of type \(type)"): it must be a program or a shared object (type 2 or 3)"
            )
        }
        isPositionIndependent = type == 3
        entry = fileClass.address(bytes, at: ELFClass.entryOffset)
        tableStart = fileClass.address(bytes, at: fileClass.tableOffset)
        count = UInt64(bytes.half(at: fileClass.sizeOffset + 2))
        try checkTable(bytes)
    }

    func programHeaders(in bytes: ImageBytes) -> [ELFProgramHeader] {
        (0..<count).map {
            ELFProgramHeader(bytes, at: tableStart + $0 * fileClass.programHeaderBytes, fileClass)
        }
    }

    private static func checkIdentity(_ bytes: ImageBytes, _ classes: Set<ELFClass>) throws(ELFError) -> ELFClass {
        guard bytes.has(4, at: 0), bytes[0, 4].elementsEqual([0x7F, 0x45, 0x4C, 0x46]) else {
            throw ELFError(
                .notELF, "e_ident", at: 0, "the file does not begin with 7F 45 4C 46, as an ELF file does")
        }
        let number = bytes.byte(at: 4)
        let fileClass = ELFClass(rawValue: number)
        try bytes.check((fileClass ?? .bits64).headerBytes, at: 0, by: ("e_ident", "e_ehsize"), "the ELF header")
        guard let fileClass, classes.contains(fileClass) else {
            let known = classes.map { "\($0.addressBits)-bit" }.sorted().joined(separator: " or ")
            let right = classes.map { String($0.rawValue) }.sorted().joined(separator: " or ")
            throw ELFError(
                .otherMachine, "EI_CLASS", UInt64(number), at: 4,
                "the file is not \(known): the byte is \(number) and must be \(right)")
        }
        for (offset, field, name) in [
            (UInt64(5), "EI_DATA", "little-endian"), (6, "EI_VERSION", "of version 1"),
        ] {
            let found = bytes.byte(at: offset)
            guard found == 1 else {
                throw ELFError(
                    .otherMachine, field, UInt64(found), at: offset,
                    "the file is not \(name): the byte is \(found) and must be 1")
            }
        }
        let machine = bytes.half(at: 18)
        guard machine == fileClass.machine else {
            throw ELFError(
                .otherMachine, "e_machine", UInt64(machine), at: 18,
                "the file is for machine \(machine): it must be for \(fileClass.machineName) (\(fileClass.machine))")
        }
        return fileClass
    }

    private func checkTable(_ bytes: ImageBytes) throws(ELFError) {
        let size = bytes.half(at: fileClass.sizeOffset)
        guard size == fileClass.programHeaderBytes else {
            throw ELFError(
                .programHeaders, "e_phentsize", UInt64(size), at: fileClass.sizeOffset,
                "a program header of \(size) bytes: it must have \(fileClass.programHeaderBytes)")
        }
        guard (1...UInt64(ELFFile.programHeaderLimit)).contains(count) else {
            throw ELFError(
                .programHeaders, "e_phnum", count, at: fileClass.sizeOffset + 2,
                "\(count) program headers: there must be 1 to \(ELFFile.programHeaderLimit) of them")
        }
        try bytes.check(
            tableBytes, at: tableStart, by: ("e_phoff", "e_phnum"), saying: count, "the table of program headers")
    }
}
