// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What an image's bytes are to whoever starts it. The raw values are the names on the command line and in JSON.
public enum ImageFormat: String, Sendable, Hashable, CaseIterable {
    /// Machine code without a header.
    case flat
    /// The first sector of a disk, as a PC's firmware loads it: 512 bytes that end in 55 AA.
    case bootSector = "boot-sector"
    /// Firmware that the processor begins with: it ends at 4 GiB.
    case rom
    /// A kernel as an ELF file, started bare: no boot protocol, flat segments, memory at its own addresses.
    case elf
    /// A kernel with a Multiboot header, version 1.
    case multiboot
    /// A kernel as an ELF file with the note that says where it starts by the PVH protocol.
    case pvh
    /// Linux as a `bzImage`.
    case linux

    /// For people, with an article.
    public var description: String {
        switch self {
        case .flat: "a flat image"
        case .bootSector: "a boot sector"
        case .rom: "a ROM"
        case .elf: "a bare ELF kernel"
        case .multiboot: "a Multiboot kernel"
        case .pvh: "a PVH kernel"
        case .linux: "a Linux kernel"
        }
    }

    /// Whether nothing in the image says where it goes and how it starts.
    public var isPlain: Bool { self == .flat || self == .bootSector }

    /// What the bytes look like. An ELF file or a `bzImage` that is wrong in something is one nevertheless: its fault is told, and it
    /// does not run as something else.
    ///
    /// A file can be several things at once. A Multiboot header comes first, since its checksum tells it for sure, unless it asks for the
    /// place of a ROM in a file that is one, as U-Boot is; of an ELF file then PVH's note.
    public init(recognising image: [UInt8]) {
        let bytes = ImageBytes(image)
        if let header = MultibootHeader.find(in: bytes) {
            let isROM = MultibootHeader.asksForPlaceOfROM(bytes, at: header) && ROMImage.looksLikeOne(bytes)
            self = isROM ? .rom : .multiboot
        } else if LinuxHeader.isPresent(in: bytes) {
            self = .linux
        } else if bytes.begins(with: [0x7F, 0x45, 0x4C, 0x46]) {
            self = KernelFile.mentionsPVH(bytes) ? .pvh : .elf
        } else if GuestLayout.isBootSector(image) {
            self = .bootSector
        } else if ROMImage.looksLikeOne(bytes) {
            self = .rom
        } else {
            self = .flat
        }
    }
}
