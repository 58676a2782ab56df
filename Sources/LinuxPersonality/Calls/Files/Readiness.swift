// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What `poll` and `epoll` say of a descriptor, by the bits that both have in common.
struct Readiness: OptionSet, Sendable, Hashable {
    let rawValue: UInt32

    /// POLLIN and POLLRDNORM.
    static let readable = Readiness(rawValue: 0x41)
    /// POLLOUT and POLLWRNORM.
    static let writable = Readiness(rawValue: 0x104)
    /// The same of a socket: with POLLWRBAND.
    static let socketWritable = Readiness(rawValue: 0x304)
    static let error = Readiness(rawValue: 0x8)
    static let hungUp = Readiness(rawValue: 0x10)
    /// POLLRDHUP: nothing follows what can be read.
    static let peerHungUp = Readiness(rawValue: 0x2000)
    /// POLLNVAL: there is no such descriptor.
    static let invalid = Readiness(rawValue: 0x20)
    /// What is told whether it was asked for or not.
    static let unasked: Readiness = [.error, .hungUp]
}

extension LinuxProcess {
    /// What can be done with an open file now without waiting.
    func readiness(_ file: OpenFile) -> Readiness {
        switch file.kind {
        case .file, .directory, .device, .path, .report: return [.readable, .writable]
        case .output: return .writable
        case .standardInput:
            if standardInput.count > 0 { return .readable }
            return standardInput.hasEnded ? .hungUp : []
        case .pipeReader(let number):
            guard let pipe = files.pipes[number] else { return .hungUp }
            return (pipe.count > 0 ? .readable : Readiness()).union(pipe.writers == 0 ? .hungUp : [])
        case .pipeWriter(let number):
            guard let pipe = files.pipes[number] else { return .error }
            let hasRoom = pipe.room >= Pipe.atomicBytes
            return (hasRoom ? .writable : Readiness()).union(pipe.readers == 0 ? .error : [])
        case .eventCounter(let number):
            guard let counter = files.counters[number] else { return .error }
            // POLLIN and POLLOUT alone, as the kernel has it.
            var ready: Readiness = counter.value > 0 ? Readiness(rawValue: 1) : []
            if counter.value < EventCounter.maximum { ready.insert(Readiness(rawValue: 4)) }
            return ready
        case .timer(let number):
            let expirations = files.timers[number]?.expirations(at: moment.monotonic) ?? 0
            return expirations > 0 ? Readiness(rawValue: 1) : []
        case .socket(let end): return files.readiness(of: end)
        case .epoll(let number):
            let isReady = files.watched(by: number).contains { interest, inner in
                !interest.isOff && interest.events & readiness(inner).rawValue != 0
            }
            return isReady ? .readable : []
        }
    }

    /// When the next timer goes off that changes a file's readiness.
    func expiry(of file: OpenFile) -> UInt64? {
        switch file.kind {
        case .timer(let number): files.timers[number]?.next
        case .epoll(let number): files.watched(by: number).compactMap { expiry(of: $0.file) }.min()
        default: nil
        }
    }
}

extension ProcessFiles {
    /// What an `epoll` watches. One may watch others that watch none, so that whoever goes through all comes to an end.
    func watched(by epoll: ObjectNumber) -> [(interest: InterestList.Interest, file: OpenFile)] {
        guard let list = epolls[epoll] else { return [] }
        return list.order.compactMap { key in
            guard let interest = list.interests[key], let file = open[key.file] else { return nil }
            return (interest, file)
        }
    }

    /// What changes a file's readiness.
    func events(of file: OpenFile) -> Set<WaitEvent> {
        switch file.kind {
        case .file, .directory, .device, .path, .output, .report: []
        case .standardInput: [.standardInput]
        case .pipeReader(let object), .pipeWriter(let object), .eventCounter(let object), .timer(let object):
            [.object(object)]
        case .socket(let end): [.object(end.incoming), .object(end.outgoing)]
        case .epoll(let object):
            watched(by: object).reduce(into: [.object(object)]) { $0.formUnion(events(of: $1.file)) }
        }
    }
}
