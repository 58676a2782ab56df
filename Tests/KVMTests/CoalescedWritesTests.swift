// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import KVM

/// Whether this machine's KVM can coalesce port writes.
private let kvmCoalesces = kvmIsUsable && ((try? Hypervisor().coalescesPortWrites) ?? false)

extension TinyMachine {
    fileprivate static let console: [UInt16] = [0xE9, 0x3F8]

    fileprivate var hasWrites: Bool { vcpu.hasCoalescedWrites }

    fileprivate func takeWrites() throws -> (ports: [UInt16], values: [UInt8]) {
        var writes = CoalescedWrites()
        try vcpu.takeCoalescedWrites(&writes)
        return (Array(writes.ports), Array(writes.values))
    }
}

@Suite(.enabled(if: kvmCoalesces, "no /dev/kvm that coalesces port writes"))
struct CoalescedWritesTests {
    @Test func `bytes to coalesced ports wait in order, and only those`() async throws {
        try await onThread {
            // out 0xe9, al; out dx, al; out 0xe9, ax; out 0xe8, ax; out 0xe9, al; hlt
            let tiny = try TinyMachine(
                hex("e6e9 ee e7e9 e7e8 e6e9 f4"), registers: [.rax: 0x4241, .rdx: 0x3F8],
                coalescedPorts: TinyMachine.console)
            let word = PortAccess(port: 0xE9, size: 2, count: 1)
            #expect(try tiny.run() == .portOut(word), "wide writes leave the guest")
            let first = try tiny.takeWrites()
            #expect(first.ports == [0xE9, 0x3F8])
            #expect(first.values == [0x41, 0x41])
            #expect(!tiny.hasWrites)
            #expect(try tiny.run() == .portOut(PortAccess(port: 0xE8, size: 2, count: 1)), "and those across the edge")
            #expect(!tiny.hasWrites)
            #expect(try tiny.run() == .halt)
            #expect(tiny.hasWrites)
            #expect(try tiny.takeWrites().ports == [0xE9])
            #expect(try tiny.takeWrites().ports == [], "they come once")
        }
    }

    @Test func `a full ring lets the next byte leave the guest, wherever in its page the ring begins`() async throws {
        try await onThread {
            // again: out 0xe9, al; inc ax; jmp again
            let tiny = try TinyMachine(hex("e6e9 40 ebfb"), coalescedPorts: TinyMachine.console)
            var next: UInt8 = 0
            for _ in 0..<5 {
                guard case .portOut(let access) = try tiny.run() else { throw KVMError.unexpectedReply(.run) }
                var values = try tiny.takeWrites().values
                #expect(values.count == CoalescedWrites.limit)
                values.append(UInt8(tiny.portValue(0, access)))
                #expect(values == (0..<values.count).map { next &+ UInt8(truncatingIfNeeded: $0) })
                next &+= UInt8(truncatingIfNeeded: values.count)
            }
        }
    }

    @Test func `what is given up does not come back`() async throws {
        try await onThread {
            let tiny = try TinyMachine(hex("e6e9 f4"), coalescedPorts: TinyMachine.console)
            #expect(try tiny.run() == .halt)
            tiny.vcpu.discardCoalescedWrites()
            #expect(!tiny.hasWrites)
            #expect(try tiny.takeWrites().values == [])
        }
    }
}

/// A ring laid out as the kernel does it, in a page of ours.
private final class Ring {
    let page = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)

    init(first: UInt32 = 0, last: UInt32) {
        page.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
        page.storeBytes(of: first, as: UInt32.self)
        page.storeBytes(of: last, toByteOffset: 4, as: UInt32.self)
    }

    deinit { page.deallocate() }

    func put(_ value: UInt8, at index: Int, address: UInt64 = 0xE9, length: UInt32 = 1, isPort: UInt32 = 1) {
        let entry = page + 8 + index * 24
        entry.storeBytes(of: address, as: UInt64.self)
        entry.storeBytes(of: length, toByteOffset: 8, as: UInt32.self)
        entry.storeBytes(of: isPort, toByteOffset: 12, as: UInt32.self)
        entry.storeBytes(of: value, toByteOffset: 16, as: UInt8.self)
    }

    var isEmpty: Bool { page.load(as: UInt32.self) == page.load(fromByteOffset: 4, as: UInt32.self) }

    func take() throws(KVMError) -> [UInt8] {
        var writes = CoalescedWrites()
        do throws(KVMError) { try writes.take(from: page) } catch {
            guard writes.values.isEmpty else { return Array(writes.values) }
            throw error
        }
        return Array(writes.values)
    }
}

@Suite struct RingTests {
    private let entries = UInt32(CoalescedWrites.limit + 1)

    @Test func `a ring of this many entries is a page`() { #expect(CoalescedWrites.limit == 169) }

    @Test func `entries are taken across the ring's end`() throws {
        let ring = Ring(first: entries - 2, last: 1)
        for (value, index) in [(UInt8(7), entries - 2), (8, entries - 1), (9, 0)] { ring.put(value, at: Int(index)) }
        #expect(try ring.take() == [7, 8, 9])
        #expect(ring.isEmpty)
    }

    @Test(arguments: [(170, 0), (0, 170), (UInt32.max, 3), (3, UInt32.max), (170, 170)] as [(UInt32, UInt32)])
    func `an index outside the ring is an error, and nothing behind the page is read`(
        first: UInt32, last: UInt32
    ) throws {
        let ring = Ring(first: first, last: last)
        #expect(throws: KVMError.unexpectedReply(.coalescedRing)) { try ring.take() }
        #expect(ring.isEmpty)
        #expect(try ring.take() == [], "the ring can be used again")
    }

    @Test(arguments: [(0xE9, 2, 1), (0xE9, 0, 1), (0xE9, 1, 0), (0x1_0000, 1, 1)] as [(UInt64, UInt32, UInt32)])
    func `an entry that is no byte to a port is an error, and those with it are lost`(
        address: UInt64, length: UInt32, isPort: UInt32
    ) throws {
        let ring = Ring(last: 2)
        ring.put(1, at: 0)
        ring.put(2, at: 1, address: address, length: length, isPort: isPort)
        #expect(throws: KVMError.unexpectedReply(.coalescedRing)) { try ring.take() }
        #expect(ring.isEmpty)
    }
}
