// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import GuestImage
import JobModel
import SeededRandom
import Testing

@testable import KVM
@testable import VMRuntime

/// Random jobs in one machine, one after the other, each looked at before it starts.
private final class RestoreCampaign {
    let memoryBytes: UInt64
    let mode: GuestMode
    let machine: Machine
    private let thread: VCPUThread
    private var random: SplitMix64
    private var starts: [(start: StartingPoint, pages: [UInt64: [UInt8]])] = []
    private var current = 0
    /// What memory held in an earlier job.
    private var shadow: MemoryShadow?
    /// Bytes that the processor wrote to page tables, all jobs together.
    private(set) var tableChanges = 0

    /// again: imul rbx, rbx, 0x41C64E6D; add rbx, 12345; mov rdi, rbx; shr rdi, 13; and rdi, rsi; mov [r8 + rdi], bl; dec rcx;
    /// jnz again; out 0xF4, al
    private static let program = hex("4869db6d4ec641 4881c339300000 4889df 48c1ef0d 4821f7 41881c38 48ffc9 75df e6f4")
    private static let programAddress: UInt64 = 0x2_0000
    /// Where pieces of images lie, in units of 64 KiB: neither the program nor the tables nor what only some machines have.
    private static let chunkBytes: UInt64 = 0x1_0000

    init(
        _ policy: RestorePolicy, memoryBytes: UInt64, mode: GuestMode, seed: UInt64,
        omitting omitted: MemoryHistory.Omissions = []
    ) throws {
        (self.memoryBytes, self.mode, random) = (memoryBytes, mode, SplitMix64(state: seed))
        var kind = MachineKind(memoryBytes: memoryBytes)
        kind.restore = policy
        machine = try Machine(kind, on: Hardware.backend.get().hypervisor)
        machine.vm.history.omitted = omitted
        thread = try VCPUThread()
    }

    /// Returns where memory first was not what it should have been.
    func run(jobs: Int) throws -> String? {
        machine.current.vcpu.attach()
        defer { machine.current.vcpu.detach() }
        for job in 0..<jobs {
            try chooseStart()
            try machine.prepare(starts[current].start)
            if let difference = difference() { return "job \(job): \(difference)" }
            try runGuest()
            try disturb()
            tableChanges += changedTableBytes()
            if Int.random(in: 0..<6, using: &random) == 0 {
                machine.trim(toBytes: UInt64.random(in: 0...64, using: &random) << 12)
            }
        }
        return nil
    }

    // MARK: Before a job

    /// Most jobs start from what the last one did, some from something older, some from something new.
    private func chooseStart() throws {
        let choice = starts.isEmpty ? 9 : Int.random(in: 0..<10, using: &random)
        if choice < 6 { return }
        if choice < 8 {
            current = Int.random(in: starts.indices, using: &random)
            return
        }
        let layout = try randomLayout()
        starts.append((StartingPoint(layout), Self.pages(of: layout)))
        current = starts.count - 1
    }

    private func randomLayout() throws -> GuestLayout {
        var spec = JobSpec(mode: mode, entryPoint: Self.programAddress, memoryBytes: memoryBytes)
        var image = Self.program
        spec.pieces = [MemoryRange(address: Self.programAddress, count: UInt64(image.count))]
        let chunks = (4..<memoryBytes / Self.chunkBytes).filter { !(8..<10).contains($0) }.shuffled(using: &random)
        for chunk in chunks.prefix(Int.random(in: 0...5, using: &random)) {
            let offset = UInt64.random(in: 0..<Self.chunkBytes, using: &random)
            let count = UInt64.random(in: 1...Self.chunkBytes - offset, using: &random)
            spec.pieces.append(MemoryRange(address: chunk * Self.chunkBytes + offset, count: count))
            let fill = UInt8.random(in: 1...255, using: &random)
            image += [UInt8](repeating: fill, count: Int(count))
        }
        return try GuestLayout(flat: image, spec: spec)
    }

    /// The pages that are not all zeros.
    private static func pages(of layout: GuestLayout) -> [UInt64: [UInt8]] {
        var pages: [UInt64: [UInt8]] = [:]
        for piece in layout.pieces {
            var next = 0
            while next < piece.bytes.count {
                let address = piece.address + UInt64(next)
                let count = min(piece.bytes.count - next, 4096 - Int(address % 4096))
                pages[address / 4096, default: [UInt8](repeating: 0, count: 4096)].replaceSubrange(
                    Int(address % 4096)..<Int(address % 4096) + count, with: piece.bytes[next..<next + count])
                next += count
            }
        }
        return pages.filter { $0.value.contains { $0 != 0 } }
    }

    /// The host knows which pages were never touched; of all others every byte is looked at.
    private func difference() -> String? {
        var missing = starts[current].pages
        var found: String?
        machine.vm.memory.forEachOccupiedPage { address, bytes in
            guard let expected = missing.removeValue(forKey: address / 4096) else {
                found = found ?? "page \(address / 4096) is not zero"
                return
            }
            if memcmp(expected, bytes, 4096) != 0 { found = found ?? "page \(address / 4096) differs" }
        }
        return found ?? missing.keys.min().map { "page \($0) is zero" }
    }

    // MARK: A job

    /// Up to some hundred pages all over a part of memory, or few in a small part.
    private func runGuest() throws {
        var registers = starts[current].start.registers
        let isWide = Bool.random(using: &random)
        registers.rbx = random.next()
        registers.rcx = UInt64.random(in: 1...(mode == .user64 && isWide ? 600 : 60), using: &random)
        registers.r8 = memoryBytes / 4
        registers.rsi = (isWide ? memoryBytes / 4 : 0x8000) - 1
        try machine.current.vcpu.setRegisters(registers)
        let exit = try machine.current.vcpu.run()
        guard case .portOut = exit else { throw Unexpected(exit: "\(exit)") }
        _ = try machine.current.vcpu.settle()
    }

    struct Unexpected: Error { let exit: String }

    /// What the worker itself may write.
    private func disturb() throws {
        if machine.kind.restore == .clearingLog, Bool.random(using: &random) { _ = try machine.vm.takeWrittenPages() }
        if Bool.random(using: &random) {
            let count = Int.random(in: 0...6000, using: &random)
            let address = UInt64.random(in: 0...memoryBytes - UInt64(count), using: &random)
            let wrote = machine.vm.memory.write([UInt8](repeating: 0xEE, count: count), at: address)
            #expect(wrote)
        }
        if Bool.random(using: &random) {
            let set = machine.vm.memory.setWord(.max, at: UInt64.random(in: 0...memoryBytes - 8, using: &random))
            #expect(set)
        }
        if Bool.random(using: &random) {
            let pages = (0..<3).map { _ in UInt64.random(in: 0..<memoryBytes / 4096, using: &random) }
            shadow?.restore(pages, in: machine.vm.memory)
        }
        if Int.random(in: 0..<8, using: &random) == 0 {
            shadow = try MemoryShadow(of: machine.vm.memory, holding: machine.vm.memory.occupiedPages())
        }
    }

    /// The processor marks the entries that it uses.
    private func changedTableBytes() -> Int {
        (UInt64(0x97)..<0x9E).reduce(0) { sum, page in
            let now = machine.vm.memory.read(at: page * 4096, count: 4096) ?? []
            let then = starts[current].pages[page] ?? now
            return sum + zip(now, then).count { $0 != $1 }
        }
    }
}

@Suite("Memory between random jobs", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct RestoreCampaignTests {
    private static let policies: [RestorePolicy] = [
        .giveBack, .wholeCopy, .stickyLog(patience: 2), .stickyLog(patience: 1000), .clearingLog,
    ]
    /// Where the guest runs on the processor if it can.
    private static var mode: GuestMode {
        get throws { try Hardware.backend.get().profile.modes[.user64] != nil ? .user64 : .long64 }
    }

    private static func difference(
        _ policy: RestorePolicy, _ memoryBytes: UInt64, _ mode: GuestMode, jobs: Int, seed: UInt64,
        omitting: MemoryHistory.Omissions = []
    ) async throws -> (difference: String?, tableChanges: Int) {
        try await onThread {
            let campaign = try RestoreCampaign(
                policy, memoryBytes: memoryBytes, mode: mode, seed: seed, omitting: omitting)
            return (try campaign.run(jobs: jobs), campaign.tableChanges)
        }
    }

    @Test(arguments: policies, [1 << 20, 4 << 20, 16 << 20, 64 << 20] as [UInt64])
    func `every job finds what it starts from and nothing else`(policy: RestorePolicy, bytes: UInt64) async throws {
        // A clean sweep of 64 MiB is slow, and knows nothing that it could get wrong.
        let jobs = policy == .wholeCopy ? 20 : 60
        let end = try await Self.difference(policy, bytes, Self.mode, jobs: jobs, seed: bytes)
        #expect(end.difference == nil)
        #expect(end.tableChanges > 0, "no page table was written to, so that is not tested")
    }

    @Test(arguments: policies)
    func `the same at ring 0`(policy: RestorePolicy) async throws {
        let end = try await Self.difference(policy, 4 << 20, .long64, jobs: 50, seed: 3)
        #expect(end.difference == nil)
    }

    @Test(
        arguments: [.stickyLog(patience: 2), .stickyLog(patience: 1000), .clearingLog] as [RestorePolicy],
        [.guestWrites, .workerWrites, .otherContent, .forgottenContent] as [MemoryHistory.Omissions])
    fileprivate func `without one of the reasons for a change it is found out`(
        policy: RestorePolicy, omitted: MemoryHistory.Omissions
    ) async throws {
        // What a clearing log told in the middle of a job is with what the worker wrote.
        let end = try await Self.difference(policy, 4 << 20, Self.mode, jobs: 100, seed: 4, omitting: omitted)
        #expect(end.difference != nil)
    }
}
