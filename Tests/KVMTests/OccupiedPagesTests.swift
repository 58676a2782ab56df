// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import KVM

@Suite("Pages that hold something", .enabled(if: kvmIsUsable, "no usable /dev/kvm"))
struct OccupiedPagesTests {
    /// Pages beside both ends of what one look at the page map tells of, and the last one.
    private static let written: [UInt64] = [0, 1, 4095, 4096, 8192, 16_383]

    private func found(_ pages: consuming OccupiedPages, in machine: borrowing VirtualMachine) -> [UInt64] {
        var found: [UInt64] = []
        var next: UInt64 = 0
        while let page = pages.next(from: next, below: machine.memory.bytes, in: machine.memory) {
            found.append(page / GuestMemory.pageBytes)
            next = page + GuestMemory.pageBytes
        }
        return found
    }

    @Test("Written pages are found, with the host's page map and without")
    func pages() throws {
        let machine = try Hypervisor().makeVirtualMachine(memoryBytes: 64 << 20)
        for page in Self.written {
            // One bit, in the last byte.
            _ = machine.memory.write([0x80], at: page * GuestMemory.pageBytes + 4095)
        }
        // Touched, and still empty.
        _ = machine.memory.write([0], at: 100 * GuestMemory.pageBytes)
        #expect(found(OccupiedPages(), in: machine) == Self.written)
        #expect(found(OccupiedPages(pageMap: -1), in: machine) == Self.written)
    }

    @Test("The search ends where it is told to")
    func end() throws {
        let machine = try Hypervisor().makeVirtualMachine(memoryBytes: 1 << 20)
        _ = machine.memory.write([1], at: 0x5000)
        var pages = OccupiedPages()
        let before = pages.next(from: 0, below: 0x5000, in: machine.memory)
        let within = pages.next(from: 0, below: 0x5001, in: machine.memory)
        #expect(before == nil)
        #expect(within == 0x5000)
    }
}
