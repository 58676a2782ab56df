// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    mutating func poll(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try poll(arguments[0], arguments.uint(1), until: deadline(milliseconds: arguments.int(2)), memory)
    }

    /// `ppoll`
    mutating func ppoll(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let deadline = try deadline(at: arguments[2], memory)
        try putMaskInPlace(arguments[3], bytes: arguments[4], memory)
        return try poll(arguments[0], arguments.uint(1), until: deadline, memory)
    }

    private mutating func poll(
        _ address: UInt64, _ count: UInt32, until deadline: UInt64?, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard Int(count) <= DescriptorTable.limit else { throw .einval }
        let asked = GuestRecord(try space.read(address, count: Int(count) * 8, memory))
        var (answer, ready, expiry, events) = (GuestRecord(), 0, UInt64?.none, Set<WaitEvent>([.signal]))
        for place in stride(from: 0, to: asked.bytes.count, by: 8) {
            let descriptor = Int32(truncatingIfNeeded: asked.number(at: place, bytes: 4))
            let wanted = Readiness(rawValue: UInt32(asked.number(at: place + 4, bytes: 2)))
            var found: Readiness = []
            if descriptor >= 0 {
                if let file = try? files.file(descriptor) {
                    found = readiness(file).intersection(wanted.union(.unasked))
                    events.formUnion(files.events(of: file))
                    expiry = [expiry, self.expiry(of: file)].compactMap { $0 }.min()
                } else {
                    found = .invalid
                }
            }
            answer.append(asked.bytes[place..<place + 6])
            answer.append(UInt64(found.rawValue), bytes: 2)
            if !found.isEmpty { ready += 1 }
        }
        if ready == 0, case .wait(let wait) = nothing(until: deadline, or: expiry, events) { return .wait(wait) }
        try space.write(answer.bytes, at: address, memory)
        return .value(ready)
    }

    mutating func select(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let span = arguments[4] == 0 ? nil : try spanOfMicroseconds(at: arguments[4], memory)
        return try select(arguments, until: span.flatMap { deadline(after: $0) }, memory)
    }

    /// `pselect6`
    mutating func pselect6(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        if arguments[5] != 0 {
            let (mask, bytes) = (try word64(arguments[5], memory), try word64(arguments[5] &+ 8, memory))
            try putMaskInPlace(mask, bytes: bytes, memory)
        }
        return try select(arguments, until: try deadline(at: arguments[4], memory), memory)
    }

    private mutating func select(
        _ arguments: CallArguments, until deadline: UInt64?, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments.int(0) >= 0 else { throw .einval }
        let count = min(Int(arguments.int(0)), DescriptorTable.limit)
        let bytes = (count + 63) / 64 * 8
        let masks: [Readiness] = [[.readable, .hungUp, .error], [.writable, .error], []]
        var (ready, expiry, events) = (0, UInt64?.none, Set<WaitEvent>([.signal]))
        var results: [[UInt8]] = []
        for (index, mask) in masks.enumerated() {
            let address = arguments[index + 1]
            var set = address == 0 ? [] : try space.read(address, count: bytes, memory)
            for descriptor in 0..<count where !set.isEmpty && set[descriptor / 8] >> (descriptor % 8) & 1 != 0 {
                let file = try files.file(Int32(descriptor))
                events.formUnion(files.events(of: file))
                expiry = [expiry, self.expiry(of: file)].compactMap { $0 }.min()
                if readiness(file).intersection(mask).isEmpty {
                    set[descriptor / 8] &= ~(1 << (descriptor % 8))
                } else {
                    ready += 1
                }
            }
            results.append(set)
        }
        if ready == 0, case .wait(let wait) = nothing(until: deadline, or: expiry, events) { return .wait(wait) }
        for (index, set) in results.enumerated() where !set.isEmpty {
            try space.write(set, at: arguments[index + 1], memory)
        }
        return .value(ready)
    }

    mutating func eventfd(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try makeCounter(arguments.uint(0), [], isSemaphore: false)
    }

    mutating func eventfd2(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let flags = OpenFlags(rawValue: arguments.uint(1) & ~1)
        guard flags.isSubset(of: [.closeOnExec, .nonBlocking]) else { throw .einval }
        return try makeCounter(arguments.uint(0), flags, isSemaphore: arguments.uint(1) & 1 != 0)
    }

    private mutating func makeCounter(
        _ value: UInt32, _ flags: OpenFlags, isSemaphore: Bool
    ) throws(Errno) -> CallEnd {
        _ = try files.table.free()
        let object = files.newObject()
        files.counters[object] = EventCounter(value: UInt64(value), isSemaphore: isSemaphore)
        let file = OpenFile(kind: .eventCounter(object), flags: flags.intersection(.nonBlocking).union(.readWrite))
        return .value(UInt64(try files.add(file, closeOnExec: flags.contains(.closeOnExec))))
    }
}
