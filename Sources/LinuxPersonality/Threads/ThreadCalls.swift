// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// What `clone` makes a thread with.
struct CloneRequest: Sendable, Hashable {
    var flags: Flags
    /// RSP; 0 for that of the thread that calls.
    var stack: UInt64
    /// Where the number of the new thread is put.
    var parentNumber: UInt64
    /// Where it is put too, or what becomes 0 when it ends.
    var childNumber: UInt64
    /// FS.base
    var base: UInt64

    /// `CLONE_*`
    struct Flags: OptionSet, Sendable, Hashable {
        let rawValue: UInt64

        static let memory = Flags(rawValue: 0x100)
        static let fileSystem = Flags(rawValue: 0x200)
        static let files = Flags(rawValue: 0x400)
        static let handlers = Flags(rawValue: 0x800)
        static let thread = Flags(rawValue: 0x1_0000)
        static let setsBase = Flags(rawValue: 0x8_0000)
        static let setsParentNumber = Flags(rawValue: 0x10_0000)
        static let clearsChildNumber = Flags(rawValue: 0x20_0000)
        static let setsChildNumber = Flags(rawValue: 0x100_0000)
        /// Any new namespace, and what only debuggers need.
        static let namespaces = Flags(rawValue: 0x7E02_0000)

        /// What threads share.
        static let shared: Flags = [.memory, .fileSystem, .files, .handlers, .thread]
    }

    /// - Throws: ENOSYS for what would be a process; EINVAL for a thread that does not share all that threads share.
    init(_ arguments: CallArguments) throws(Errno) {
        flags = Flags(rawValue: arguments[0])
        (stack, parentNumber, childNumber, base) = (arguments[1], arguments[2], arguments[3], arguments[4])
        guard flags.isDisjoint(with: .namespaces) else { throw .eperm }
        guard flags.contains(.thread) else {
            guard !flags.contains(.handlers) || flags.contains(.memory) else { throw .einval }
            throw .enosys
        }
        guard flags.isSuperset(of: .shared) else { throw .einval }
        guard !flags.contains(.setsBase) || base < AddressLayout.userEnd else { throw .eperm }
    }
}

extension LinuxProcess {
    /// `clone`: threads only.
    mutating func clone(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        let request = try CloneRequest(arguments)
        guard threads.count < ThreadTable.limit else { throw .eagain }
        return .onProcessor(.clone(request))
    }

    /// Adds the thread that the running one asks for, which goes on like it behind the call.
    mutating func makeThread(
        _ request: CloneRequest, on processor: any GuestProcessor, _ memory: borrowing GuestMemory
    ) throws(KVMError) {
        let parent = threads.running
        var thread = Thread(number: threads.newNumber())
        (thread.name, thread.mask, thread.registers) = (parent.name, parent.mask, parent.registers)
        thread.registers.rax = 0
        if request.stack != 0 { thread.registers.rsp = request.stack }
        thread.bases = (request.flags.contains(.setsBase) ? request.base : processor.fsBase, processor.gsBase)
        thread.extendedState = try takeExtendedState(of: processor)
        let number = UInt64(thread.number)
        // As in Linux it is not looked at whether that worked.
        if request.flags.contains(.setsParentNumber) {
            try? space.writeWord(number, at: request.parentNumber, bytes: 4, memory)
        }
        if request.flags.contains(.setsChildNumber) {
            try? space.writeWord(number, at: request.childNumber, bytes: 4, memory)
        }
        if request.flags.contains(.clearsChildNumber) { thread.clearedAddress = request.childNumber }
        threads.add(thread)
        threads.running.registers.rax = number
    }

    /// `exit`: the thread ends, and the process with its last one.
    mutating func exit(_ arguments: CallArguments, _ memory: borrowing GuestMemory) -> CallEnd {
        let status = UInt8(truncatingIfNeeded: arguments[0])
        if UInt64(threads.running.number) == Self.number { firstThreadStatus = status }
        guard threads.count > 1 else { return .over(.exited(status: firstThreadStatus ?? status)) }
        giveUpLocks(memory)
        let cleared = threads.running.clearedAddress
        if cleared != 0 {
            try? space.writeWord(0, at: cleared, bytes: 4, memory)
            _ = threads.wakeFutex(cleared, atMost: 1)
        }
        threads.removeRunning()
        return .threadOver
    }

    // MARK: The table

    mutating func performOnThreads(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .futex: return try futex(arguments, memory)
        case .gettid: return .value(UInt64(threads.running.number))
        case .clone: return try clone(arguments)
        case .exit: return exit(arguments, memory)
        case .exitGroup: return .over(.exited(status: UInt8(truncatingIfNeeded: arguments[0])))
        case .setTidAddress:
            threads.running.clearedAddress = arguments[0]
            return .value(UInt64(threads.running.number))
        case .setRobustList: return try setRobustList(arguments)
        case .getRobustList: return try getRobustList(arguments, memory)
        case .schedYield: return .yield
        case .membarrier: return try membarrier(arguments)
        case .fork, .vfork, .clone3, .rseq: throw .enosys
        default: return nil
        }
    }
}
