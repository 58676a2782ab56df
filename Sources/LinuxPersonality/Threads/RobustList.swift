// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// Locks that a thread holds when it ends are marked, so that others can tell: `set_robust_list`.
extension LinuxProcess {
    /// The most locks that are looked at: 2048, as Linux.
    static let robustListLimit = 2048
    /// The size of a `struct robust_list_head`.
    private static var robustHeadBytes: UInt64 { 24 }

    /// A futex's word: the holder's number, and what is known of it.
    private enum FutexWord {
        static let holder: UInt32 = 0x3FFF_FFFF
        static let holderDied: UInt32 = 0x4000_0000
        static let hasWaiters: UInt32 = 0x8000_0000
    }

    mutating func setRobustList(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        guard arguments[1] == Self.robustHeadBytes else { throw .einval }
        threads.running.robustList = arguments[0]
        return .zero
    }

    mutating func getRobustList(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let number = arguments.uint(0) == 0 ? threads.running.number : arguments.uint(0)
        guard let index = threads.index(of: number) else { throw .esrch }
        try space.writeWord(Self.robustHeadBytes, at: arguments[2], memory)
        try space.writeWord(threads[index].robustList, at: arguments[1], memory)
        return .zero
    }

    /// Marks the locks of the running thread, which ends. The list is the program's own: whatever is wrong with it ends the walk.
    mutating func giveUpLocks(_ memory: borrowing GuestMemory) {
        let head = threads.running.robustList
        guard head != 0 else { return }
        do throws(Errno) {
            var entry = try word64(head, memory)
            let offset = try word64(head &+ 8, memory)
            // The one that the thread was about to take or to give back.
            let open = try word64(head &+ 16, memory)
            var left = Self.robustListLimit
            // Bit 0 says that priority is inherited, which is not supported.
            while entry & ~1 != head, left > 0 {
                let next = try word64(entry & ~1, memory)
                if entry & ~1 != open & ~1 { try giveUp((entry & ~1) &+ offset, isOpen: false, memory) }
                entry = next
                left -= 1
            }
            if open & ~1 != 0 { try giveUp((open & ~1) &+ offset, isOpen: true, memory) }
        } catch {
            return
        }
    }

    private mutating func giveUp(
        _ address: UInt64, isOpen: Bool, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        guard address % 4 == 0 else { throw .einval }
        let word = try word32(address, memory)
        // Given back and nobody told yet.
        if isOpen, word == 0 { return _ = threads.wakeFutex(address, atMost: 1) }
        guard word & FutexWord.holder == threads.running.number else { return }
        let dead = word & FutexWord.hasWaiters | FutexWord.holderDied
        try space.writeWord(UInt64(dead), at: address, bytes: 4, memory)
        if word & FutexWord.hasWaiters != 0 { _ = threads.wakeFutex(address, atMost: 1) }
    }
}
