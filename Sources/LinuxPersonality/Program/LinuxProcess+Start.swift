// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import KVM

extension LinuxProcess {
    /// Where a program starts.
    struct Start: Sendable, Hashable {
        /// The first instruction: the interpreter's, where there is one.
        var entry: UInt64
        /// Where `argc` is.
        var stackPointer: UInt64
    }

    /// Brings a program into memory that is empty yet, as `execve` does: its segments, its dynamic linker if it names one, a heap, and a
    /// stack with its arguments, its environment and the auxiliary vector.
    mutating func load(_ program: Program, _ memory: borrowing GuestMemory) throws(ProgramError) -> Start {
        let (program, bytes) = try find(program)
        guard program.argumentBytes <= Program.argumentBytesLimit else {
            throw ProgramError(
                .e2big,
                "arguments and environment take \(program.argumentBytes) bytes, at most \(Program.argumentBytesLimit) may be"
            )
        }
        let file = try executable(bytes, at: program.path)
        self.program = program
        threads.running.name = program.name
        files.tree.setExecutable(realPath(of: program.path))
        let bias = file.isPositionIndependent ? AddressLayout.programBias.rounded(upTo: file.alignment) : 0
        let main = try map(file, bytes, at: program.path, bias: bias, memory)
        space.setProgramBreak(main.end)
        var auxiliary = AuxiliaryVector(file, main)
        var entry = main.entry
        if let path = file.interpreter {
            let linker = try loadLinker(path, of: program.path, memory)
            (entry, auxiliary.linkerBase) = (linker.entry, linker.bias)
        }
        do throws(Errno) {
            let top = try space.mapStack(memory)
            let stack = InitialStack(program, auxiliary, random: random.bytes(Self.startRandomBytes))
            let place = try stack.put(below: top, in: &space, memory)
            startRandomAddress = place.random
            return Start(entry: entry, stackPointer: place.pointer)
        } catch {
            throw ProgramError(error, "there is no room for the stack of \(shown(program.path))")
        }
    }

    /// Finds out whether a program can be executed, as far as that is known without memory for it.
    mutating func check(_ program: Program) throws(ProgramError) {
        let (program, bytes) = try find(program)
        guard let linker = try executable(bytes, at: program.path).interpreter else { return }
        _ = try executable(try contents(of: linker), at: linker)
    }

    /// The program that is executed in the end, behind the interpreters of scripts.
    private mutating func find(_ program: Program) throws(ProgramError) -> (Program, FileBytes) {
        var program = program
        for _ in 0...Program.scriptLimit {
            let bytes = try contents(of: program.path)
            guard let next = program.interpreter(of: bytes.bytes(from: 0, count: Program.scriptLineBytes)) else {
                return (program, bytes)
            }
            program = next
        }
        throw ProgramError(.eloop, "\(shown(program.path)) is the interpreter of too many scripts in a row")
    }

    private mutating func loadLinker(
        _ path: [UInt8], of program: [UInt8], _ memory: borrowing GuestMemory
    ) throws(ProgramError) -> LoadedFile {
        let bytes: FileBytes
        do throws(ProgramError) { bytes = try contents(of: path) } catch {
            throw ProgramError(.enoent, "\(shown(program)) needs \(shown(path)) to start: \(error.message)")
        }
        let file = try executable(bytes, at: path)
        guard file.isPositionIndependent, file.interpreter == nil else {
            throw ProgramError(.enoexec, "\(shown(path)), by which \(shown(program)) starts, is no dynamic linker")
        }
        return try map(file, bytes, at: path, bias: nil, memory)
    }

    // MARK: Files

    /// The bytes of a file that may be executed.
    private mutating func contents(of path: [UInt8]) throws(ProgramError) -> FileBytes {
        do throws(Errno) {
            let end = try files.tree.find(path, from: files.workingDirectory, follows: true)
            guard case .inode(let number)? = end.target else { throw .enoent }
            guard files.tree[number].attributes.type == .regular, files.tree.allows(.execute, number) else {
                throw .eacces
            }
            guard let bytes = files.tree[number].content.unchanged else { throw .etxtbsy }
            return bytes
        } catch {
            let what = error == .eacces ? "is no file that may be executed" : "is not among the job's files"
            throw ProgramError(error, "\(shown(path)) \(what) (\(error.name))")
        }
    }

    /// A path behind all links, for one that leads to a file.
    private mutating func realPath(of path: [UInt8]) -> [UInt8] {
        guard let end = try? files.tree.find(path, from: files.workingDirectory, follows: true), let name = end.name
        else { return path }
        return files.tree.path(of: name, in: end.parent) ?? path
    }

    private func executable(_ bytes: FileBytes, at path: [UInt8]) throws(ProgramError) -> ELFFile {
        do throws(ELFError) {
            return try ELFFile(bytes.bytes(from: 0, count: bytes.count))
        } catch {
            throw ProgramError(.enoexec, "\(shown(path)) cannot be executed: \(error)")
        }
    }

    // MARK: Segments

    /// Where an executable file is in memory.
    struct LoadedFile {
        var bias: UInt64
        var entry: UInt64
        /// Behind its last segment.
        var end: UInt64
    }

    /// Maps a file's segments.
    ///
    /// - Parameter bias: what is added to its addresses; nil for wherever there is room.
    private mutating func map(
        _ file: ELFFile, _ bytes: FileBytes, at path: [UInt8], bias: UInt64?, _ memory: borrowing GuestMemory
    ) throws(ProgramError) -> LoadedFile {
        guard let first = file.segments.first, let last = file.segments.last else {
            throw ProgramError(.enoexec, "\(shown(path)) has no segments to load")
        }
        do throws(Errno) {
            let addresses = first.address..<last.end
            let bias =
                if let bias { bias } else { try room(for: addresses, alignment: file.alignment, memory) }
            let mapped = MappedFile(bytes, name: path)
            for segment in file.segments { try map(segment, of: mapped, bias: bias, memory) }
            return LoadedFile(bias: bias, entry: file.entry &+ bias, end: last.end &+ bias)
        } catch {
            let what = error == .enomem ? "does not fit into the job's memory" : "has segments that cannot be mapped"
            throw ProgramError(error, "\(shown(path)) \(what) (\(error.name))")
        }
    }

    /// Where in the area of mappings there is room for so many addresses.
    private mutating func room(
        for addresses: Range<UInt64>, alignment: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) -> UInt64 {
        let alignment = max(alignment, GuestMemory.pageBytes)
        let start = addresses.lowerBound & ~(alignment - 1)
        let (bytes, overflow) = (addresses.upperBound - start).addingReportingOverflow(alignment)
        guard !overflow else { throw .enomem }
        let place = try space.map(MapRequest(bytes: bytes, protection: []), memory)
        try space.unmap(place..<place + (bytes + GuestMemory.pageBytes - 1) & ~(GuestMemory.pageBytes - 1), memory)
        return place.rounded(upTo: alignment) &- start
    }

    private mutating func map(
        _ segment: ELFFile.Segment, of file: MappedFile, bias: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        guard segment.isMappable else { throw .enoexec }
        guard segment.memoryBytes > 0 else { return }
        let page = GuestMemory.pageBytes
        let (address, overflow) = segment.address.addingReportingOverflow(bias)
        let (end, tooFar) = address.addingReportingOverflow(segment.memoryBytes)
        guard !overflow, !tooFar, end <= AddressLayout.mappable.upperBound else { throw .enomem }
        let start = address & ~(page - 1)
        let fileEnd = address + segment.fileBytes
        let pagesOfFile = segment.fileBytes == 0 ? start : (fileEnd + page - 1) & ~(page - 1)
        let protection = Protection(segment.rights)
        if pagesOfFile > start {
            let offset = segment.fileOffset - (address - start)
            _ = try space.map(
                MapRequest(
                    address: start, bytes: pagesOfFile - start, protection: protection, placement: .fixedIfFree,
                    content: .file(file, offset: offset)), memory)
        }
        guard end > fileEnd else { return }
        // What follows in the file is not the segment's. Zeros up to the page's end, as on Linux: dynamic linkers use what is there.
        if protection.contains(.write), fileEnd < pagesOfFile {
            try space.write([UInt8](repeating: 0, count: Int(pagesOfFile - fileEnd)), at: fileEnd, memory)
        }
        guard end > pagesOfFile else { return }
        _ = try space.map(
            MapRequest(
                address: pagesOfFile, bytes: end - pagesOfFile, protection: protection, placement: .fixedIfFree), memory
        )
    }
}

/// A guest's bytes as people can read them, in quotes.
private func shown(_ bytes: [UInt8]) -> String {
    let words = bytes.prefix(256).split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    return "\"" + words.map { String(printable: $0) }.joined(separator: " ") + "\""
}

extension UInt64 {
    /// The next multiple of a power of two, which may wrap.
    fileprivate func rounded(upTo unit: UInt64) -> UInt64 { (self &+ (unit &- 1)) & ~(unit &- 1) }
}

extension Protection {
    init(_ rights: ELFFile.Segment.Rights) {
        self = []
        if rights.contains(.read) { insert(.read) }
        if rights.contains(.write) { insert(.write) }
        if rights.contains(.execute) { insert(.execute) }
    }
}
