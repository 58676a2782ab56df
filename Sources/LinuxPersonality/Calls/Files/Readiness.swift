// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// What `poll` and `epoll` say of a descriptor, by the bits that both have in common.
struct Readiness: OptionSet, Sendable, Hashable {
    let rawValue: UInt32

    static let readable = Readiness(rawValue: 0x41)
    static let writable = Readiness(rawValue: 0x104)
    static let error = Readiness(rawValue: 0x8)
    static let hungUp = Readiness(rawValue: 0x10)
    /// POLLRDHUP and the two that nobody needs to ask for.
    static let unasked: Readiness = [.error, .hungUp]
}

extension ProcessFiles {
    /// What can be done with an open file now without waiting.
    func readiness(_ file: OpenFile, _ input: InputBuffer) -> Readiness {
        switch file.kind {
        case .file, .directory, .device, .path: return [.readable, .writable]
        case .output: return .writable
        case .standardInput:
            if input.count > 0 { return .readable }
            return input.hasEnded ? .hungUp : []
        case .pipeReader(let number):
            guard let pipe = pipes[number] else { return .hungUp }
            var ready: Readiness = pipe.count > 0 ? .readable : []
            if pipe.writers == 0 { ready.insert(.hungUp) }
            return ready
        case .pipeWriter(let number):
            guard let pipe = pipes[number] else { return .error }
            var ready: Readiness = pipe.room >= Pipe.atomicBytes ? .writable : []
            if pipe.readers == 0 { ready.insert(.error) }
            return ready
        case .eventCounter(let number):
            guard let counter = counters[number] else { return .error }
            var ready: Readiness = counter.value > 0 ? Readiness(rawValue: 1) : []
            if counter.value < EventCounter.maximum { ready.insert(Readiness(rawValue: 4)) }
            return ready
        case .epoll(let number):
            guard let list = epolls[number] else { return [] }
            let isReady = list.order.contains { key in
                guard let interest = list.interests[key], let inner = self.open[key.file] else { return false }
                // One epoll in another is as deep as it goes, so this ends.
                return !interest.isOff && interest.events & readiness(inner, input).rawValue != 0
            }
            return isReady ? .readable : []
        }
    }

    /// What changes a file's readiness.
    func events(of file: OpenFile) -> Set<WaitEvent> {
        switch file.kind {
        case .file, .directory, .device, .path, .output: return []
        case .standardInput: return [.standardInput]
        case .pipeReader(let object), .pipeWriter(let object), .eventCounter(let object): return [.object(object)]
        case .epoll(let object):
            guard let list = epolls[object] else { return [] }
            return list.order.reduce(into: [.object(object)]) { events, key in
                if let inner = open[key.file] { events.formUnion(self.events(of: inner)) }
            }
        }
    }
}

extension LinuxProcess {
    /// When a timeout that counts from the call's beginning is over; nil for one that is too far off to matter.
    func deadline(seconds: Int64, nanoseconds: Int64) throws(Errno) -> UInt64? {
        guard seconds >= 0, (0..<1_000_000_000).contains(nanoseconds) else { throw .einval }
        let (product, isTooLarge) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        let (span, isTooLong) = product.addingReportingOverflow(UInt64(nanoseconds))
        let (end, isBeyond) = callStarted.addingReportingOverflow(span)
        return isTooLarge || isTooLong || isBeyond ? nil : end
    }

    func deadline(milliseconds: Int32) -> UInt64? {
        milliseconds < 0 ? nil : callStarted &+ UInt64(milliseconds) * 1_000_000
    }

    /// A `struct timespec` that says how long to wait; without one, for ever.
    mutating func deadline(
        at address: UInt64, unit: Int64 = 1, _ memory: borrowing GuestMemory
    ) throws(Errno) -> UInt64? {
        guard address != 0 else { return nil }
        let seconds = Int64(bitPattern: try word64(address, memory))
        let (parts, isTooLarge) = Int64(bitPattern: try word64(address &+ 8, memory)).multipliedReportingOverflow(
            by: unit)
        guard !isTooLarge else { throw .einval }
        return try deadline(seconds: seconds, nanoseconds: parts)
    }

    /// Whether a call that found nothing is over, rather than to wait.
    func isOver(_ deadline: UInt64?) -> Bool {
        guard let deadline else { return false }
        return hasTimedOut || moment.monotonic >= deadline
    }
}
