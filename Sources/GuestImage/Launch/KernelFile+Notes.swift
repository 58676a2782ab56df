// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A note's fields, of a `PT_NOTE` segment.
private struct ELFNote {
    let type: UInt32
    let name: ArraySlice<UInt8>
    /// Where the descriptor is in the file, which has it all.
    let place: UInt64
    let count: UInt64
}

extension KernelFile {
    /// The most bytes of all notes that are looked at: 1 MiB.
    static let noteLimit: UInt64 = 1 << 20
    /// `XEN_ELFNOTE_PHYS32_ENTRY`.
    private static let physicalEntryNote: UInt32 = 18

    /// Whether the file says where it starts by the PVH protocol. Never fails: of a file that cannot be read, it does not.
    static func mentionsPVH(_ bytes: ImageBytes) -> Bool { (try? pvhEntry(bytes)) != nil }

    /// Where the kernel starts by the PVH protocol: a physical address, in 32-bit mode.
    static func pvhEntry(_ bytes: ImageBytes) throws(LaunchError) -> (address: UInt64, place: UInt64) {
        let headers: [ELFProgramHeader]
        do throws(ELFError) {
            let header = try ELFHeader(bytes, classes: [.bits32, .bits64])
            headers = header.programHeaders(in: bytes).filter { $0.type == .note }
        } catch {
            throw LaunchError(error)
        }
        var left = noteLimit
        for header in headers {
            for note in try notes(header, bytes, left: &left) where note.isXen && note.type == physicalEntryNote {
                return (try entry(note, bytes), note.place)
            }
        }
        throw LaunchError(
            .otherFormat, "XEN_ELFNOTE_PHYS32_ENTRY", nil,
            "no note of the file says where it starts by the PVH protocol")
    }

    private static func entry(_ note: ELFNote, _ bytes: ImageBytes) throws(LaunchError) -> UInt64 {
        guard note.count == 4 || note.count == 8 else {
            throw LaunchError(
                .invalidField, "n_descsz", note.count, at: note.place,
                "XEN_ELFNOTE_PHYS32_ENTRY has 4 or 8 bytes: an address")
        }
        return note.count == 4 ? UInt64(bytes.word(at: note.place)) : bytes.long(at: note.place)
    }

    /// The notes of a segment. Each is a header of three words, the name, and the descriptor, both filled up to whole words, or to
    /// eight bytes where the segment is aligned so.
    private static func notes(
        _ header: ELFProgramHeader, _ bytes: ImageBytes, left: inout UInt64
    ) throws(LaunchError) -> [ELFNote] {
        do throws(ELFError) {
            try bytes.check(header.fileBytes, at: header.offset, by: ("p_offset", "p_filesz"), "a segment of notes")
        } catch {
            throw LaunchError(error)
        }
        guard header.fileBytes <= left else {
            throw LaunchError(
                .tooMany, "p_filesz", header.fileBytes, at: header.place,
                "the notes of a file have at most \(noteLimit) bytes in all")
        }
        left -= header.fileBytes
        // All of the numbers below are of 32 bits or within the file, so that no sum overflows.
        let mask: UInt64 = header.alignment == 8 ? 7 : 3
        let end = header.offset + header.fileBytes
        var (notes, place) = ([ELFNote](), header.offset)
        while place < end, end - place >= 12 {
            let (nameBytes, count) = (UInt64(bytes.word(at: place)), UInt64(bytes.word(at: place + 4)))
            let name = place + 12
            let descriptor = header.offset + ((name + nameBytes - header.offset + mask) & ~mask)
            guard nameBytes <= end - name else {
                throw LaunchError(
                    .invalidField, "n_namesz", nameBytes, at: place, "the note's name ends behind its segment")
            }
            guard count == 0 || (descriptor <= end && count <= end - descriptor) else {
                throw LaunchError(
                    .invalidField, "n_descsz", count, at: place + 4, "the note's descriptor ends behind its segment")
            }
            notes.append(
                ELFNote(
                    type: bytes.word(at: place + 8), name: bytes[name, nameBytes], place: descriptor, count: count))
            place = header.offset + ((descriptor + count - header.offset + mask) & ~mask)
        }
        return notes
    }
}

extension ELFNote {
    fileprivate var isXen: Bool { name.elementsEqual([0x58, 0x65, 0x6E, 0x00]) }
}
