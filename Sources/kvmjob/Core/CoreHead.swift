// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Disassembly
internal import JobModel

/// What stands before memory in a core file: the ELF header, two program headers and the notes.
///
/// The file is as gdb wants it for the code that the guest ran at its end: ELF64 for x86-64 where that is 64-bit code, else ELF32
/// for i386, since gdb takes the size of code from the file and cannot be told otherwise later. Memory is one segment whose
/// addresses are guest physical ones, which are the linear ones where the guest has no page tables of its own.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 64 or 52 | ELF header: ET_CORE |
/// | then | 56 or 32 | PT_NOTE |
/// | then | 56 or 32 | PT_LOAD: guest memory from address 0 on |
/// | then | less than 2 KiB | notes: ``CoreNotes`` |
/// | 4096 | guest memory | pages of zeros are holes |
struct CoreHead: Sendable {
    /// Where guest memory begins in the file: at a page, so that a reader can map it.
    static let memoryOffset: UInt64 = 4096

    let name: String
    let result: JobResult
    let size: CodeSize

    private var isWide: Bool { size == .bits64 }

    /// The first ``memoryOffset`` bytes of the file.
    func bytes(memoryBytes: UInt64) -> [UInt8] {
        let notes = CoreNotes(name: name, result: result, size: size).bytes
        let noteOffset = UInt64(isWide ? 64 + 2 * 56 : 52 + 2 * 32)
        var head = header
        head += segment(type: 4, flags: 0, offset: noteOffset, memory: nil, bytes: UInt64(notes.count))
        head += segment(type: 1, flags: 7, offset: Self.memoryOffset, memory: 0, bytes: memoryBytes)
        head += notes
        precondition(head.count <= Self.memoryOffset, "a core's head of \(head.count) bytes")
        return head + [UInt8](repeating: 0, count: Int(Self.memoryOffset) - head.count)
    }

    private var header: [UInt8] {
        var bytes: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, isWide ? 2 : 1, 1, 1] + [UInt8](repeating: 0, count: 9)
        // ET_CORE; EM_X86_64 or EM_386; version 1.
        bytes.append(little: [4, isWide ? 62 : 3] as [UInt16])
        bytes.append(little: [1] as [UInt32])
        // No entry, the program headers behind this one, no sections.
        bytes.append(words: [0, isWide ? 64 : 52, 0], wide: isWide)
        bytes.append(little: [0] as [UInt32])
        bytes.append(little: (isWide ? [64, 56, 2, 0, 0, 0] : [52, 32, 2, 0, 0, 0]) as [UInt16])
        return bytes
    }

    /// A program header; `memory` is the address of what the guest had, nil for what it had not.
    private func segment(type: UInt32, flags: UInt32, offset: UInt64, memory: UInt64?, bytes count: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        let place = [offset, memory ?? 0, memory ?? 0, count, memory == nil ? 0 : count]
        let alignment: UInt64 = memory == nil ? 4 : 4096
        bytes.append(little: [type])
        if isWide { bytes.append(little: [flags]) }
        bytes.append(words: place, wide: isWide)
        if !isWide { bytes.append(little: [flags]) }
        bytes.append(words: [alignment], wide: isWide)
        return bytes
    }
}

extension [UInt8] {
    /// Numbers, little-endian, as x86 has them.
    mutating func append(little numbers: [some FixedWidthInteger & UnsignedInteger]) {
        for number in numbers {
            for shift in stride(from: 0, to: number.bitWidth, by: 8) {
                append(UInt8(truncatingIfNeeded: number >> shift))
            }
        }
    }

    /// Numbers in 8 bytes each where the file is wide, else their low 4.
    mutating func append(words: [UInt64], wide: Bool) {
        if wide { append(little: words) } else { append(little: words.map(UInt32.init(truncatingIfNeeded:))) }
    }
}
