// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import GuestImage
import JobModel
import KVM
import Testing

@testable import LinuxPersonality

/// A vCPU at ring 3 whose memory above 4 GiB is a process's. Its first 4 GiB are the `user64` mode's, code and stubs included.
final class Guest {
    static let isPossible: Bool = {
        do {
            _ = try Hypervisor()
            return true
        } catch { return false }
    }()

    let machine: VirtualMachine
    var space: AddressSpace
    private let vcpu: VirtualCPU
    private let thread: VCPUThread
    private let layout: GuestLayout
    private var mustLoad = true

    /// What the program does at an address, and how it ended.
    enum End: Hashable {
        case done(UInt8)
        case fault(code: UInt64)
    }

    enum Access: UInt64 {
        /// `mov al, [rdi]; out 0x80, al`
        case read = 0x10_0000
        /// `mov [rdi], sil; mov al, [rdi]; out 0x80, al`
        case write = 0x10_0010
        /// `jmp rdi`
        case execute = 0x10_0020
    }

    init(_ policy: RestorePolicy = .giveBack) throws {
        var image = [UInt8](repeating: 0xCC, count: 64)
        image.replaceSubrange(0..<5, with: [0x8A, 0x07, 0xE6, 0x80, 0xF4])
        image.replaceSubrange(16..<24, with: [0x40, 0x88, 0x37, 0x8A, 0x07, 0xE6, 0x80, 0xF4])
        image.replaceSubrange(32..<34, with: [0xFF, 0xE7])
        var spec = JobSpec(mode: .user64)
        spec.memoryBytes = 16 << 20
        layout = try GuestLayout(flat: image, spec: spec)
        let hypervisor = try Hypervisor()
        machine = try hypervisor.makeVirtualMachine(memoryBytes: layout.memoryBytes, restoring: policy)
        vcpu = try hypervisor.makeVirtualCPU(in: machine)
        thread = try VCPUThread()
        let pieces = layout.pieces.map { (address: $0.address, bytes: $0.bytes) }
        try machine.restore(to: PristineMemory(bytes: layout.memoryBytes, pieces: pieces))
        space = AddressSpace(in: machine.memory, root: layout.system.cr3, reserved: 0x20_0000)
        vcpu.attach()
    }

    deinit { vcpu.detach() }

    struct Unexpected: Error { let exit: VMExit }

    /// Does it once, without answering a fault. After one that went well nothing but registers is set, so that nothing makes the
    /// processor forget.
    func attempt(_ access: Access, _ address: UInt64, storing byte: UInt8 = 0) throws -> End {
        var registers = layout.registers
        (registers.rip, registers.rdi, registers.rsi) = (access.rawValue, address, UInt64(byte))
        if mustLoad {
            var state = vcpu.pristine
            (state.registers, state.system) = (registers, layout.system)
            try vcpu.load(state)
        } else {
            try vcpu.setRegisters(registers)
        }
        mustLoad = false
        let exit = try vcpu.run()
        guard case .portOut(let port) = exit else { throw Unexpected(exit: exit) }
        let value = UInt8(truncatingIfNeeded: vcpu.portValue(at: 0, of: port))
        _ = try vcpu.settle()
        guard port.port == SystemArea.trapPort else { return .done(value) }
        mustLoad = true
        let stack = try vcpu.registers().rsp
        return .fault(code: machine.memory.word(at: stack) ?? .max)
    }

    /// The same, with faults answered.
    func perform(_ access: Access, _ address: UInt64, storing byte: UInt8 = 0) throws -> End {
        for _ in 0..<4 {
            let end = try attempt(access, address, storing: byte)
            guard case .fault(let code) = end else { return end }
            let kind: MemoryAccess = code & 16 != 0 ? .execute : code & 2 != 0 ? .write : .read
            guard space.resolveFault(at: address, for: kind, machine.memory) == .mapped else { return end }
        }
        return .fault(code: .max)
    }

    func map(_ pages: UInt64, _ protection: Protection = [.read, .write]) throws -> UInt64 {
        try space.map(MapRequest(bytes: pages * 4096, protection: protection), machine.memory)
    }

    func protect(_ start: UInt64, _ pages: UInt64, _ protection: Protection) throws {
        try space.protect(start..<start + pages * 4096, protection, machine.memory)
    }
}

private func onThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue(label: "test").async { continuation.resume(with: Result { try body() }) }
    }
}

/// What the processor makes of changes to tables that it has used already. Error codes: 1 the page is there, 2 a write, 4 from
/// ring 3, 16 a fetch.
@Suite("Page tables that change while a program runs", .enabled(if: Guest.isPossible, "no usable /dev/kvm"))
struct LiveTableTests {
    static let policies: [RestorePolicy] = [.giveBack, .stickyLog(patience: 2), .clearingLog]

    @Test(arguments: policies) func `what is unmapped faults at once`(policy: RestorePolicy) async throws {
        try await onThread {
            let guest = try Guest(policy)
            let start = try guest.map(8)
            for page in UInt64(0)..<8 {
                let byte = UInt8(page + 1)
                #expect(try guest.perform(.write, start + page * 4096, storing: byte) == .done(byte))
            }
            try guest.space.unmap(start + 2 * 4096..<start + 5 * 4096, guest.machine.memory)
            for page in UInt64(0)..<8 {
                let end = try guest.attempt(.read, start + page * 4096)
                #expect(end == ((2..<5).contains(page) ? .fault(code: 4) : .done(UInt8(page + 1))))
            }
        }
    }

    @Test(arguments: policies) func `rights that are taken away are gone at once`(policy: RestorePolicy) async throws {
        try await onThread {
            let guest = try Guest(policy)
            let start = try guest.map(4)
            for page in UInt64(0)..<4 { _ = try guest.perform(.write, start + page * 4096, storing: 7) }
            try guest.protect(start, 1, [.read])
            #expect(try guest.attempt(.read, start) == .done(7))
            #expect(try guest.attempt(.write, start, storing: 8) == .fault(code: 7))
            try guest.protect(start + 4096, 1, [])
            #expect(try guest.attempt(.read, start + 4096) == .fault(code: 4))
            #expect(try guest.attempt(.write, start + 2 * 4096, storing: 9) == .done(9))
            // What was kept is there again.
            try guest.protect(start + 4096, 1, [.read, .write])
            #expect(try guest.perform(.write, start, storing: 8) == .fault(code: 7))
            #expect(try guest.perform(.read, start + 4096) == .done(7))
            #expect(try guest.perform(.write, start + 4096, storing: 5) == .done(5))
        }
    }

    @Test(arguments: policies) func `code runs where it may, and nowhere else`(policy: RestorePolicy) async throws {
        try await onThread {
            let guest = try Guest(policy)
            let start = try guest.map(1)
            // out 0x80, al; hlt
            try guest.space.write([0xE6, 0x80, 0xF4], at: start, guest.machine.memory)
            #expect(try guest.perform(.execute, start) == .fault(code: 21))
            try guest.protect(start, 1, [.read, .execute])
            #expect(try guest.perform(.execute, start) == .done(0))
            #expect(try guest.perform(.execute, start) == .done(0))
            #expect(try guest.attempt(.write, start, storing: 1) == .fault(code: 7))
            #expect(try guest.perform(.execute, start) == .done(0))
            try guest.protect(start, 1, [.read])
            #expect(try guest.attempt(.execute, start) == .fault(code: 21))
        }
    }

    @Test(arguments: policies) func `rights that are given take effect`(policy: RestorePolicy) async throws {
        try await onThread {
            let guest = try Guest(policy)
            let start = try guest.map(1, [.read])
            #expect(try guest.perform(.read, start) == .done(0))
            #expect(try guest.perform(.write, start, storing: 1) == .fault(code: 7))
            #expect(try guest.perform(.read, start) == .done(0))
            try guest.protect(start, 1, [.read, .write])
            #expect(try guest.perform(.write, start, storing: 3) == .done(3))
        }
    }

    @Test(arguments: policies)
    func `another page at the same address is seen, and the old one never again`(policy: RestorePolicy) async throws {
        try await onThread {
            let guest = try Guest(policy)
            let (one, other) = (try guest.map(4), try guest.map(4, [.read]))
            for page in UInt64(0)..<4 {
                _ = try guest.perform(.write, one + page * 4096, storing: UInt8(0x10 + page))
            }
            // Mapped anew over itself: zeros.
            _ = try guest.space.map(
                MapRequest(address: one, bytes: 4096, protection: [.read, .write], placement: .fixed),
                guest.machine.memory)
            #expect(try guest.perform(.read, one) == .done(0))
            #expect(try guest.perform(.read, one + 4096) == .done(0x11))
            // Moved over another mapping that was read before.
            #expect(try guest.perform(.read, other + 4096) == .done(0))
            let request = RemapRequest(
                address: one + 4096, oldBytes: 2 * 4096, newBytes: 2 * 4096, mayMove: true, target: other + 4096)
            let moved = try guest.space.remap(request, guest.machine.memory)
            #expect(moved == other + 4096)
            #expect(try guest.attempt(.read, one + 4096) == .fault(code: 4))
            #expect(try guest.perform(.read, other + 4096) == .done(0x11))
            #expect(try guest.perform(.write, other + 2 * 4096, storing: 0x77) == .done(0x77))
            #expect(try guest.perform(.read, one + 3 * 4096) == .done(0x13))
        }
    }

    @Test(arguments: policies)
    func `what is discarded is zeros, and what was given back is restored`(policy: RestorePolicy) async throws {
        try await onThread {
            let guest = try Guest(policy)
            let start = try guest.map(8)
            for page in UInt64(0)..<8 { _ = try guest.perform(.write, start + page * 4096, storing: UInt8(page + 1)) }
            let content = PristineMemory(of: guest.machine.memory)
            let copy = guest.space
            for _ in 0..<3 {
                try guest.machine.restore(to: content)
                guest.space = copy
                let middle = start + 2 * 4096..<start + 6 * 4096
                try guest.space.forEachPart(of: middle) { (space, part) throws(Errno) in
                    space.discard(part, guest.machine.memory)
                }
                #expect(try guest.attempt(.read, start + 3 * 4096) == .done(0))
                #expect(try guest.attempt(.write, start + 4 * 4096, storing: 0x44) == .done(0x44))
                #expect(try guest.attempt(.read, start + 4096) == .done(2))
                try guest.space.unmap(start..<start + 4096, guest.machine.memory)
                #expect(try guest.attempt(.read, start) == .fault(code: 4))
                try guest.machine.restore(to: content)
                guest.space = copy
                for page in UInt64(0)..<8 {
                    #expect(try guest.perform(.read, start + page * 4096) == .done(UInt8(page + 1)), "page \(page)")
                }
            }
        }
    }

    @Test func `a program finds what system calls wrote, and they what it wrote`() async throws {
        try await onThread {
            let guest = try Guest()
            let start = try guest.map(2000)
            try guest.space.write([UInt8](repeating: 0x61, count: 100_000), at: start + 4090, guest.machine.memory)
            #expect(try guest.perform(.read, start + 104_089) == .done(0x61))
            #expect(try guest.perform(.read, start + 104_090) == .done(0))
            #expect(try guest.perform(.write, start + 7_000_000, storing: 0x62) == .done(0x62))
            let seen = try guest.space.read(start + 7_000_000, count: 1, guest.machine.memory)
            #expect(seen == [0x62])
            // One fault for each page table, not for each page.
            #expect(guest.space.counts.faults <= 2)
        }
    }

    @Test func `system pages are out of the program's reach, but for what it may read`() async throws {
        try await onThread {
            let guest = try Guest()
            let rights: [(SystemPageRights, read: Guest.End, write: Guest.End, execute: Guest.End)] = [
                (.supervisorCode, .fault(code: 5), .fault(code: 7), .fault(code: 21)),
                (.supervisorData, .fault(code: 5), .fault(code: 7), .fault(code: 21)),
                (.userData, .done(0xE6), .fault(code: 7), .fault(code: 21)),
                (.userCode, .done(0xE6), .fault(code: 7), .done(0)),
            ]
            let isWritten = guest.machine.memory.write([0xE6, 0x80, 0xF4], at: 0x18_0000)
            #expect(isWritten)
            for (index, (rights, read, write, execute)) in rights.enumerated() {
                let address = AddressLayout.systemArea.lowerBound + UInt64(index) * 4096
                let isMapped = guest.space.mapSystemPage(address, to: 0x18_0000, rights, guest.machine.memory)
                #expect(isMapped)
                #expect(try guest.perform(.read, address) == read, "\(rights)")
                #expect(try guest.perform(.write, address, storing: 1) == write, "\(rights)")
                #expect(try guest.perform(.execute, address) == execute, "\(rights)")
            }
        }
    }
}
