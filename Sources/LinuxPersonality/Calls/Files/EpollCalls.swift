// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    private static var edgeTriggered: UInt32 { 1 << 31 }
    private static var oneShot: UInt32 { 1 << 30 }

    mutating func epollCreate(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.int(0) > 0 else { throw .einval }
        return try makeEpoll(closeOnExec: false)
    }

    mutating func epollCreate1(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let flags = OpenFlags(rawValue: arguments.uint(0))
        guard flags.isSubset(of: .closeOnExec) else { throw .einval }
        return try makeEpoll(closeOnExec: !flags.isEmpty)
    }

    private mutating func makeEpoll(closeOnExec: Bool) throws(Errno) -> CallEnd {
        _ = try files.table.free()
        let object = files.newObject()
        files.epolls[object] = InterestList()
        return .value(
            UInt64(try files.add(OpenFile(kind: .epoll(object), flags: .readWrite), closeOnExec: closeOnExec)))
    }

    private func epoll(_ descriptor: Int32) throws(Errno) -> ObjectNumber {
        guard case .epoll(let object) = try files.file(descriptor).kind else { throw .einval }
        return object
    }

    /// `epoll_ctl`. An `epoll` can watch another that itself watches none.
    mutating func epollCtl(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let operation = arguments.uint(1)
        var (events, word): (UInt32, UInt64) = (0, 0)
        if operation != 2 {
            events = try word32(arguments[3], memory)
            word = try word64(arguments[3] &+ 4, memory)
        }
        _ = try files.file(arguments.int(0))
        let watched = try files.file(arguments.int(2))
        switch watched.kind {
        case .file, .directory, .path, .device: throw .eperm
        default: break
        }
        let object = try epoll(arguments.int(0))
        if operation == 1, case .epoll(let inner) = watched.kind { try demandNesting(of: inner, in: object) }
        let key = InterestList.Key(descriptor: arguments.int(2), file: try files.number(arguments.int(2)))
        let isThere = files.epolls[object]?.interests[key] != nil
        switch operation {
        case 1:
            guard !isThere else { throw .eexist }
            guard let list = files.epolls[object], list.order.count < InterestList.limit else { throw .enospc }
            files.epolls[object]?.order.append(key)
            files.open[key.file]?.watchers.insert(object)
            files.epolls[object]?.interests[key] = InterestList.Interest(events: events, word: word)
        case 2:
            guard isThere else { throw .enoent }
            files.forget(key, object)
        case 3:
            guard isThere else { throw .enoent }
            files.epolls[object]?.interests[key] = InterestList.Interest(events: events, word: word)
        default: throw .einval
        }
        files.raise(object)
        return .zero
    }

    /// Linux allows five levels; what programs use is two.
    private func demandNesting(of inner: ObjectNumber, in outer: ObjectNumber) throws(Errno) {
        guard inner != outer else { throw .einval }
        func isEpoll(_ file: OpenFile) -> Bool { if case .epoll = file.kind { true } else { false } }
        let isWatched = files.epolls.keys.contains { other in
            files.watched(by: other).contains { $0.file.kind == .epoll(outer) }
        }
        guard !isWatched, !files.watched(by: inner).contains(where: { isEpoll($0.file) }) else { throw .eloop }
    }

    mutating func epollWait(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try epollWait(arguments, until: deadline(milliseconds: arguments.int(3)), memory)
    }

    /// `epoll_pwait`
    mutating func epollPwait(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try putMaskInPlace(arguments[4], bytes: arguments[5], memory)
        return try epollWait(arguments, memory)
    }

    mutating func epollPwait2(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try putMaskInPlace(arguments[4], bytes: arguments[5], memory)
        return try epollWait(arguments, until: try deadline(at: arguments[3], memory), memory)
    }

    /// Reports what is ready, those first that were not reported for the longest time.
    private mutating func epollWait(
        _ arguments: CallArguments, until deadline: UInt64?, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let most = arguments.int(2)
        guard most > 0 else { throw .einval }
        let object = try epoll(arguments.int(0))
        guard let list = files.epolls[object] else { throw .einval }
        var (record, reported): (GuestRecord, [(InterestList.Key, UInt32)]) = (GuestRecord(), [])
        var (expiry, events) = (UInt64?.none, Set<WaitEvent>([.object(object), .signal]))
        for key in list.order {
            guard let interest = list.interests[key], let file = files.open[key.file] else { continue }
            events.formUnion(files.events(of: file))
            expiry = [expiry, self.expiry(of: file)].compactMap { $0 }.min()
            guard reported.count < Int(most), !interest.isOff else { continue }
            let ready = readiness(file).rawValue & (interest.events | Readiness.unasked.rawValue)
            let isNew = ready & ~interest.reported != 0 || interest.seen != changes(of: file)
            guard ready != 0, interest.events & Self.edgeTriggered == 0 || isNew else { continue }
            record.append(ready)
            record.append(interest.word)
            reported.append((key, ready))
        }
        if reported.isEmpty { return nothing(until: deadline, or: expiry, events) }
        try space.write(record.bytes, at: arguments[1], memory)
        note(reported, object)
        return .value(reported.count)
    }

    /// How often something changed about what a file refers to: standard input counts what came and is still unread.
    private func changes(of file: OpenFile) -> UInt64 {
        switch file.kind {
        case .pipeReader(let object), .pipeWriter(let object), .eventCounter(let object):
            return files.changes[object] ?? 0
        case .timer(let object):
            return (files.changes[object] ?? 0) &+ (files.timers[object]?.expirations(at: moment.monotonic) ?? 0)
        case .socket(let end): return (files.changes[end.incoming] ?? 0) &+ (files.changes[end.outgoing] ?? 0)
        case .standardInput: return UInt64(standardInput.count) + 1
        default: return 0
        }
    }

    private mutating func note(_ reported: [(InterestList.Key, UInt32)], _ object: ObjectNumber) {
        for (key, ready) in reported {
            guard var interest = files.epolls[object]?.interests[key], let file = files.open[key.file] else { continue }
            interest.reported = ready
            interest.seen = changes(of: file)
            if interest.events & Self.oneShot != 0 { interest.isOff = true }
            files.epolls[object]?.interests[key] = interest
        }
        let keys = Set(reported.map { $0.0 })
        guard let order = files.epolls[object]?.order else { return }
        files.epolls[object]?.order = order.filter { !keys.contains($0) } + reported.map { $0.0 }
    }
}
