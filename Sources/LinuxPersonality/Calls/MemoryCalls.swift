// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// The system calls about memory.
extension LinuxProcess {
    // MARK: Mapping

    mutating func brk(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        .value(space.moveBreak(to: arguments[0], memory))
    }

    mutating func mmap(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let flags = MapFlags(rawValue: arguments[3])
        guard arguments[5] % GuestMemory.pageBytes == 0 else { throw .einval }
        let file = flags.contains(.anonymous) ? nil : try mappableFile(arguments.int(4))
        var request = MapRequest(
            address: arguments[0], bytes: arguments[1],
            protection: Protection(rawValue: UInt8(truncatingIfNeeded: arguments[2] & 7)),
            placement: flags.placement)
        if flags.contains(.noReserve) { request.traits.insert(.unreserved) }
        if flags.contains(.stack) { request.traits.insert(.threadStack) }
        if flags.contains(.growsDown) { request.traits.insert(.growsDown) }
        if flags.kind != .isPrivate {
            request.traits.insert(.shared)
            if file != nil { request.traits.insert(.neverWritable) }
        }
        request.refusal = refusal(of: request, flags, ofFile: file != nil)
        let start = try map(request, file, offset: arguments[5], name: arguments.int(4), memory)
        if flags.contains(.populate) { populate(start, request, memory) }
        return .value(start)
    }

    private mutating func map(
        _ request: MapRequest, _ file: MappableFile?, offset: UInt64, name descriptor: Int32,
        _ memory: borrowing GuestMemory
    ) throws(Errno) -> UInt64 {
        var request = request
        switch file {
        case nil: return try space.map(request, memory)
        case .unchanged(let bytes):
            request.content = .file(MappedFile(bytes, name: nameForMapping(descriptor)), offset: offset)
            return try space.map(request, memory)
        case .written(let piece):
            guard let bytes = AddressSpace.roundedUp(request.bytes), offset <= UInt64(Int64.max) - bytes else {
                throw .eoverflow
            }
            return try space.map(request, holding: { piece(Int(offset) + $0, $1) }, memory)
        }
    }

    private func refusal(of request: MapRequest, _ flags: MapFlags, ofFile isFile: Bool) -> Errno? {
        guard let kind = flags.kind else { return .einval }
        // There are no huge pages, and none can be added.
        if flags.contains(.hugePages) { return .enomem }
        guard isFile else {
            if kind == .sharedValidate { return .einval }
            return request.traits.isSuperset(of: [.growsDown, .shared]) ? .einval : nil
        }
        if kind == .sharedValidate, flags.rawValue & ~MapFlags.known != 0 { return .eopnotsupp }
        if flags.contains(.growsDown) { return .einval }
        // What is mapped stays what the file is now, so that nothing written to it could reach the file.
        return kind != .isPrivate && request.protection.contains(.write) ? .enodev : nil
    }

    private mutating func populate(_ start: UInt64, _ request: MapRequest, _ memory: borrowing GuestMemory) {
        guard let index = space.regions.index(containing: start), let bytes = AddressSpace.roundedUp(request.bytes)
        else {
            return
        }
        let part = space.regions[index].clipped(to: start..<start + bytes)
        // As on Linux, what cannot be brought in is for a fault to tell.
        do throws(Errno) { try space.populate(part, for: .read, memory) } catch { return }
    }

    mutating func munmap(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments[0] % GuestMemory.pageBytes == 0, arguments[0] <= AddressLayout.userEnd,
            arguments[1] > 0, arguments[1] <= AddressLayout.userEnd - arguments[0],
            let bytes = AddressSpace.roundedUp(arguments[1])
        else { throw .einval }
        try space.unmap(arguments[0]..<arguments[0] + bytes, memory)
        return .zero
    }

    mutating func mprotect(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let growth = arguments[2] & (ProtectFlags.growsDown | ProtectFlags.growsUp)
        guard growth != ProtectFlags.growsDown | ProtectFlags.growsUp else { throw .einval }
        guard arguments[0] % GuestMemory.pageBytes == 0 else { throw .einval }
        guard arguments[1] > 0 else { return .zero }
        var range = try range(arguments[0], arguments[1], wrapping: .enomem)
        guard arguments[2] & ~ProtectFlags.known == 0, growth & ProtectFlags.growsUp == 0 else { throw .einval }
        if growth != 0 {
            // Down to the start of the stack; a region that does not grow has no such rights.
            guard let index = space.regions.index(containing: range.lowerBound) else { throw .enomem }
            guard space.regions[index].traits.contains(.growsDown) else { throw .einval }
            range = space.regions[index].start..<range.upperBound
        }
        let protection = Protection(rawValue: UInt8(arguments[2] & 7))
        try space.protect(range, protection, memory)
        return .zero
    }

    mutating func mremap(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let (mayMove, isFixed, flags) = (arguments[3] & 1 != 0, arguments[3] & 2 != 0, arguments[3])
        // MREMAP_DONTUNMAP (4) is not supported.
        guard flags & ~3 == 0, mayMove || !isFixed, arguments[0] % GuestMemory.pageBytes == 0,
            let old = AddressSpace.roundedUp(arguments[1]), let new = AddressSpace.roundedUp(arguments[2]), new > 0
        else { throw .einval }
        guard arguments[0] < AddressLayout.userEnd else { throw isFixed ? .einval : .efault }
        guard old > 0 else {
            // A second mapping of the same pages is only for shared memory, which is private here.
            throw space.regions.overlaps(arguments[0]..<arguments[0] + 1) ? .einval : .efault
        }
        let request = RemapRequest(
            address: arguments[0], oldBytes: old, newBytes: new, mayMove: mayMove,
            target: isFixed ? arguments[4] : nil)
        return .value(try space.remap(request, memory))
    }

    // MARK: Advice and questions

    mutating func madvise(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard let advice = Advice(rawValue: arguments.int(2)) else { throw .einval }
        guard arguments[0] % GuestMemory.pageBytes == 0 else { throw .einval }
        guard arguments[1] > 0 else { return .zero }
        let range = try range(arguments[0], arguments[1], wrapping: .einval)
        try space.forEachPart(of: range) { (space: inout AddressSpace, part: Region) throws(Errno) in
            try space.follow(advice, part, memory)
        }
        return .zero
    }

    mutating func mincore(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments[0] % GuestMemory.pageBytes == 0 else { throw .einval }
        guard arguments[1] > 0 else { return .zero }
        let range = try range(arguments[0], arguments[1], wrapping: .enomem)
        // A page of answers at a time: a reservation may have many.
        var (address, target) = (range.lowerBound, arguments[2])
        let step = GuestMemory.pageBytes * GuestMemory.pageBytes
        while address < range.upperBound {
            let end = min(range.upperBound, address + step)
            guard let answers = space.residency(of: address..<end, memory) else { throw .enomem }
            try space.write(answers, at: target, memory)
            (address, target) = (end, target &+ UInt64(answers.count))
        }
        return .zero
    }

    mutating func msync(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        // MS_ASYNC, MS_INVALIDATE, MS_SYNC.
        guard arguments.uint(2) & ~7 == 0, arguments.uint(2) & 5 != 5, arguments[0] % GuestMemory.pageBytes == 0
        else { throw .einval }
        return try checkCovered(arguments)
    }

    // MARK: Locks: all that is in memory stays there

    mutating func mlock(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let offset = arguments[0] % GuestMemory.pageBytes
        let start = arguments[0] - offset
        let bytes = arguments[1].addingReportingOverflow(offset)
        guard !bytes.overflow else { throw .einval }
        return try checkCovered(start, bytes.partialValue)
    }

    mutating func mlock2(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.uint(2) & ~1 == 0 else { throw .einval }
        return try mlock(arguments, memory)
    }

    mutating func munlock(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try mlock(arguments, memory)
    }

    mutating func mlockall(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        // MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT, which alone means nothing.
        guard arguments.uint(0) & ~7 == 0, arguments.uint(0) & 3 != 0 else { throw .einval }
        return .zero
    }

    mutating func munlockall(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        .zero
    }

    private func checkCovered(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        try checkCovered(arguments[0], arguments[1])
    }

    private func checkCovered(_ start: UInt64, _ bytes: UInt64) throws(Errno) -> CallEnd {
        guard bytes > 0 else { return .zero }
        guard space.regions.covers(try range(start, bytes, wrapping: .enomem)) else { throw .enomem }
        return .zero
    }

    /// Whole pages from an address on. What lies above all addresses is never mapped.
    private func range(_ start: UInt64, _ bytes: UInt64, wrapping: Errno) throws(Errno) -> Range<UInt64> {
        guard let bytes = AddressSpace.roundedUp(bytes) else { throw wrapping }
        let end = start.addingReportingOverflow(bytes)
        guard !end.overflow else { throw wrapping }
        return start..<end.partialValue
    }
}
