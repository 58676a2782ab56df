// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

extension MultibootHeader.Addresses {
    /// Puts into memory what the header says, whatever else the file is.
    ///
    /// - Parameter offset: where the header is in the file.
    func add(_ bytes: ImageBytes, headerAt offset: UInt64, to map: inout MemoryMap) throws(LaunchError) {
        let start = try fileStart(headerAt: offset)
        let filled = try fileBytes(bytes, from: start, headerAt: offset)
        let count = try memoryBytes(filled, headerAt: offset)
        guard count > 0 else {
            throw LaunchError(
                .invalidField, "load_end_addr", loadEnd, at: offset + 20,
                "it leaves nothing to load: load_addr is the same")
        }
        try map.add(
            MemoryMap.Claim(
                name: "image", address: load, count: count, bytes: bytes[start, filled],
                field: ("load_addr", offset + 16)))
        guard entry >= load, entry - load < count else {
            throw LaunchError(
                .entryOutsideImage, "entry_addr", entry, at: offset + 28,
                "the image is at \(load.hexadecimal) to \((load + count - 1).hexadecimal)")
        }
    }

    /// Where in the file the byte for ``load`` is: as far before the header as in memory.
    private func fileStart(headerAt offset: UInt64) throws(LaunchError) -> UInt64 {
        guard header >= load else {
            throw LaunchError(
                .invalidField, "header_addr", header, at: offset + 12,
                "it must not be below load_addr, \(load.hexadecimal): the header is a part of what is loaded")
        }
        guard header - load <= offset else {
            throw LaunchError(
                .invalidField, "load_addr", load, at: offset + 16,
                "it is \(header - load) bytes before header_addr, and the file has \(offset) bytes before the header")
        }
        return offset - (header - load)
    }

    private func fileBytes(
        _ bytes: ImageBytes, from start: UInt64, headerAt offset: UInt64
    ) throws(LaunchError) -> UInt64 {
        guard loadEnd != 0 else { return bytes.count - start }
        guard loadEnd >= load else {
            throw LaunchError(
                .invalidField, "load_end_addr", loadEnd, at: offset + 20,
                "it must not be below load_addr, \(load.hexadecimal); 0 stands for the whole file")
        }
        guard bytes.has(loadEnd - load, at: start) else {
            throw LaunchError(
                .truncated, "load_end_addr", loadEnd, at: offset + 20,
                "it asks for \(loadEnd - load) bytes from byte \(start) of the file, which has \(bytes.count) in all")
        }
        return loadEnd - load
    }

    private func memoryBytes(_ filled: UInt64, headerAt offset: UInt64) throws(LaunchError) -> UInt64 {
        guard zerosEnd != 0 else { return filled }
        guard zerosEnd >= load, zerosEnd - load >= filled else {
            throw LaunchError(
                .invalidField, "bss_end_addr", zerosEnd, at: offset + 24,
                "it must not be below the end of what is loaded, \((load + filled).hexadecimal); 0 stands for no zeros")
        }
        return zerosEnd - load
    }
}
