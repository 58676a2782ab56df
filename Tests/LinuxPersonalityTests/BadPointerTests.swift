// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import SeededRandom
import Testing

@testable import KVM
@testable import LinuxPersonality

/// Every call there is, with every kind of bad pointer in each of its arguments.
///
/// What is served is not listed here: a call that is added to the personality is tried from then on.
@Suite struct BadPointerTests {
    /// A process with some of everything, and memory of every kind.
    private struct World: ~Copyable {
        /// Where strings and structures lie that calls take.
        static let path: UInt64 = 0x2_0000
        static let zeros: UInt64 = 0x2_1000
        static let room: UInt64 = 0x3_0000
        /// A page without rights.
        static let noRights: UInt64 = 0x20_0000
        /// A page that is not there, behind one that is.
        static let unmapped = Caller.window.upperBound

        static let pointers: [UInt64] = [
            0, 1, unmapped, 1 << 46, noRights, noRights + 4088, Caller.readOnlyPage, Caller.readOnlyPage + 4090,
            unmapped - 1, unmapped - 7, .max, .max - 7, .max - 4095, 1 << 63, 0x8000_0000_0000, 0x7FFF_FFFF_FFFF,
            0xFFFF_8000_0000_0000, AddressLayout.systemArea.lowerBound, AddressLayout.systemArea.lowerBound + 0xFFF,
            AddressLayout.systemArea.lowerBound - 1, AddressLayout.userEnd - 1, AddressLayout.userEnd,
        ]
        /// What other arguments hold meanwhile: descriptors, small numbers, good addresses, all ones.
        static let fillers: [UInt64] = [0, 1, 3, 4, 8, 9, path, zeros, room, .max]

        var caller: Caller
        /// Its files as they were before the first call.
        private let files: ProcessFiles

        init() throws {
            let file = try #require(
                FileTree(files: [("tmp/file", FileBytes([UInt8](repeating: 7, count: 9000)), 0o666)]))
            var caller = try Caller([file])
            _ = try caller.raw(.mmap, [Self.noRights, 4096, 0, 0x32, .max, 0])
            // Frames below those that are handed out are the system area's.
            let isInside = caller.memory.write([UInt8](repeating: 0xA5, count: 0x2_0000 - 0x2000)[...], at: 0x2000)
            if !isInside { throw Errno.efault }
            try caller.process.space.write(Array("/tmp/file".utf8) + [0], at: Self.path, caller.memory)
            _ = try caller.raw(.open, [Self.path, 2])
            _ = try caller.raw(.pipe2, [Self.room, 0o4000])
            _ = try caller.raw(.eventfd2, [1, 0o4000])
            _ = try caller.raw(.epollCreate1, [0])
            _ = try caller.raw(.timerfdCreate, [1, 0o4000])
            _ = try caller.raw(.socketpair, [1, 0o4001, 0, Self.room])
            try caller.process.space.clear(Self.room, count: 64, caller.memory)
            caller.process.standardInput.append([1, 2, 3])
            // The page that must not change has something in it.
            _ = try caller.raw(.mprotect, [Caller.readOnlyPage, 4096, 3])
            try caller.process.space.write(
                [UInt8](repeating: 0x5A, count: 4096), at: Caller.readOnlyPage, caller.memory)
            _ = try caller.raw(.mprotect, [Caller.readOnlyPage, 4096, 1])
            files = caller.process.files
            self.caller = caller
        }

        /// Serves a call and checks what must hold whatever its arguments are.
        mutating func serve(_ call: SystemCall, _ registers: [UInt64]) throws -> Int {
            (caller.process.files, caller.process.outbox) = (files, [])
            let value = try caller.raw(call, registers)
            let isError = value < 0 && value >= -4095
            let isKnown = !isError || Errno(rawValue: UInt16(-value)) != nil
            let hasFailed = caller.process.space.failure != nil
            #expect(isKnown && !hasFailed, "\(call.name) \(registers) gave \(value)")
            return value
        }

        /// Whether what no call may change is as it was. Calls about memory may well have changed the read-only page's rights.
        func isUnharmed(by call: SystemCall) -> Bool {
            guard holds(0xA5, count: 0x2_0000 - 0x2000, at: 0x2000) else { return false }
            if Self.remapping.contains(call) { return true }
            let entry = caller.process.space.tables.entry(of: Caller.readOnlyPage, caller.memory)
            return entry.hasFrame && holds(0x5A, count: 4096, at: entry.address)
        }

        private func holds(_ byte: UInt8, count: Int, at address: UInt64) -> Bool {
            var bytes: [UInt8] = []
            return caller.memory.append(count, at: address, to: &bytes)
                && bytes == [UInt8](repeating: byte, count: count)
        }

        /// Calls that may replace the pages of an address.
        private static let remapping: Set<SystemCall> = [.mmap, .munmap, .mprotect, .mremap, .madvise, .brk]
    }

    @Test func `a bad pointer in any argument is an error or nothing, and harms nothing`() throws {
        var (faulted, succeeded): (Set<SystemCall>, Set<SystemCall>) = ([], [])
        for call in SystemCall.allCases {
            var world = try World()
            for position in 0..<6 {
                for (index, pointer) in World.pointers.enumerated() {
                    // Half of them for each pointer: all meet each call somewhere.
                    for number in World.fillers.indices where (number + index + position) % 2 == 0 {
                        var registers = [UInt64](repeating: World.fillers[number], count: 6)
                        registers[position] = pointer
                        let value = try world.serve(call, registers)
                        if value == -14 { faulted.insert(call) }
                        if value >= 0 { succeeded.insert(call) }
                    }
                }
            }
            let isUnharmed = world.isUnharmed(by: call)
            #expect(isUnharmed, "\(call.name)")
        }
        // Nothing is served that was not tried in earnest.
        #expect(faulted.count > 80 && succeeded.count > 100, "\(faulted.count), \(succeeded.count)")
    }

    @Test(arguments: UInt64(1)...4) func `random arguments harm nothing`(seed: UInt64) throws {
        var random = SplitMix64(state: seed)
        let plausible =
            World.pointers + World.fillers + [2, 5, 6, 7, 16, 24, 64, 100, 4096, 0x1000, UInt64(bitPattern: -100)]
        for call in SystemCall.allCases {
            var world = try World()
            for _ in 0..<60 {
                let registers = (0..<6).map { _ in
                    random.next() % 8 == 0
                        ? random.next() >> (random.next() % 64)
                        : plausible[Int(random.next() % UInt64(plausible.count))]
                }
                _ = try world.serve(call, registers)
            }
            let isUnharmed = world.isUnharmed(by: call)
            #expect(isUnharmed, "\(call.name)")
        }
    }
}
