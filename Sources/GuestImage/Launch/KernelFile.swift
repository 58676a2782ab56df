// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A kernel as an ELF file: its segments at their physical addresses (`p_paddr`), where a boot loader puts them.
struct KernelFile {
    struct Segment {
        /// The number of its program header, the first being 0.
        let number: Int
        /// Where that is in the file.
        let place: UInt64
        /// What goes where in memory.
        let physical: ELFFile.Segment
        /// Where the kernel has it once it has set up its own page tables (`p_vaddr`).
        let virtualAddress: UInt64

        /// Where in memory an address of the kernel's own is; nil of one outside.
        func physicalAddress(of address: UInt64) -> UInt64? {
            guard address >= virtualAddress, address - virtualAddress < physical.memoryBytes else { return nil }
            return physical.address + (address - virtualAddress)
        }
    }

    let fileClass: ELFClass
    /// `e_entry`: an address of the kernel's own, or of memory.
    let entry: UInt64
    /// By rising address of memory; never empty, none over another, all below the memory's end.
    let segments: [Segment]
    private let bytes: ImageBytes

    var className: String { fileClass == .bits32 ? "ELF32 for i386" : "ELF64 for x86-64" }

    init(_ bytes: ImageBytes, memoryBytes: UInt64) throws(LaunchError) {
        self.bytes = bytes
        do throws(ELFError) {
            let header = try ELFHeader(bytes, classes: [.bits32, .bits64])
            (fileClass, entry) = (header.fileClass, header.entry)
            let headers = header.programHeaders(in: bytes)
            try Self.checkIsNoProgram(header, headers)
            segments = try Self.segments(headers, bytes, memoryBytes: memoryBytes)
        } catch {
            throw LaunchError(error)
        }
    }

    /// Programs for an operating system are ELF files too.
    private static func checkIsNoProgram(_ header: ELFHeader, _ headers: [ELFProgramHeader]) throws(ELFError) {
        if let interpreter = headers.first(where: { $0.type == .interpreter }) {
            throw ELFError(
                .interpreter, "p_type", 3, at: interpreter.place,
                "the file asks for an interpreter, as programs for Linux do and kernels do not: start it with kvmjob run"
            )
        }
        guard !header.isPositionIndependent else {
            throw ELFError(
                .notLoadable, "e_type", 3, at: 16,
                "the file is position-independent, and nobody is there to relocate it: link a kernel at fixed addresses "
                    + "(-no-pie); start a program for Linux with kvmjob run")
        }
    }

    private static func segments(
        _ headers: [ELFProgramHeader], _ bytes: ImageBytes, memoryBytes: UInt64
    ) throws(ELFError) -> [Segment] {
        var segments: [Segment] = []
        for (number, header) in headers.enumerated() where header.belongsInMemory {
            let physical = try header.segment(in: bytes, at: .physical, addressLimit: memoryBytes)
            segments.append(
                Segment(
                    number: number, place: header.place, physical: physical, virtualAddress: header.address))
        }
        guard !segments.isEmpty else {
            throw ELFError(
                .noSegments, "p_type", at: ELFClass.bits64.tableOffset,
                "none of the program headers is PT_LOAD with bytes for memory")
        }
        return segments.sorted { $0.physical.address < $1.physical.address }
    }

    /// Puts the segments where they belong.
    func add(to map: inout MemoryMap) throws(LaunchError) {
        for segment in segments {
            let physical = segment.physical
            try map.add(
                MemoryMap.Claim(
                    name: "segment \(segment.number), \(physical.rights.text)", address: physical.address,
                    count: physical.memoryBytes, bytes: bytes[physical.fileOffset, physical.fileBytes],
                    field: (ELFProgramHeader.Space.physical.field, segment.place)))
        }
    }

    /// Where in memory the first instruction is. Kernels that run at high addresses say so in `e_entry` too; it is then translated
    /// as their segments say.
    func physicalEntry() throws(LaunchError) -> UInt64 {
        for segment in segments {
            if let address = segment.physicalAddress(of: entry) { return address }
        }
        guard segments.contains(where: { $0.physical.address <= entry && entry < $0.physical.end }) else {
            throw LaunchError(
                .entryOutsideImage, "e_entry", entry, at: ELFClass.entryOffset,
                "the first instruction is in none of the segments, by their virtual addresses or by their physical ones"
            )
        }
        return entry
    }
}

extension ELFFile.Segment.Rights {
    /// As tools print them: `r-x`.
    var text: String {
        (contains(.read) ? "r" : "-") + (contains(.write) ? "w" : "-") + (contains(.execute) ? "x" : "-")
    }
}
