// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import GuestImage
import JobModel
import Testing

@testable import KVM
@testable import VMRuntime

@Suite("A machine's memory between jobs", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct MachineMemoryTests {
    /// Writes ECX pages from EDI on: again: inc byte [rdi]; add edi, 4096; dec ecx; jnz again; out 0xF4, al
    private static let touch = hex("fe07 81c700100000 ffc9 75f4 e6f4")

    /// A machine as a job of this budget gets it.
    private static func machine(_ memoryBytes: UInt64, _ budget: Budget = Budget()) throws -> Machine {
        let backend = try Hardware.backend.get()
        var spec = JobSpec(mode: .user64, memoryBytes: memoryBytes, budget: budget)
        spec.budget = budget
        return try Machine(AdmittedJob(image: touch, spec: spec, on: backend.profile).kind, on: backend.hypervisor)
    }

    private static func start(_ memoryBytes: UInt64) throws -> StartingPoint {
        StartingPoint(try GuestLayout(flat: touch, spec: JobSpec(mode: .user64, memoryBytes: memoryBytes)))
    }

    private static func run(_ machine: Machine, _ start: StartingPoint, from first: UInt64, pages: UInt64) throws {
        try machine.prepare(start)
        var registers = start.registers
        (registers.rdi, registers.rcx) = (first, pages)
        try machine.current.vcpu.setRegisters(registers)
        machine.current.vcpu.attach()
        defer { machine.current.vcpu.detach() }
        let exit = try machine.current.vcpu.run()
        #expect(exit == .portOut(PortAccess(port: 0xF4, size: 1, count: 1)))
        _ = try machine.current.vcpu.settle()
    }

    @Test
    func `an idle machine whose job touched all of 16 MiB keeps one at the most`() async throws {
        try await onThread {
            let (machine, start) = (try Self.machine(16 << 20), try Self.start(16 << 20))
            let thread = try VCPUThread()
            defer { withExtendedLifetime(thread) {} }
            for _ in 0..<2 {
                try Self.run(machine, start, from: 2 << 20, pages: 3584)
                #expect(try Self.resident(machine) >= 14 << 20)
                machine.trim()
                #expect(try Self.resident(machine) <= 1 << 20)
                // The next job's own, and no page of the one before.
                try Self.run(machine, start, from: 2 << 20, pages: 1)
                #expect(try Self.resident(machine) <= (1 << 20) + (256 << 10))
                try machine.prepare(start)
                #expect(try Self.occupied(machine) == Self.occupied(start))
            }
        }
    }

    @Test
    func `a huge guest gives back what its job took, and a smaller one may keep it`() async throws {
        try await onThread {
            let (machine, start) = (try Self.machine(128 << 20), try Self.start(128 << 20))
            let thread = try VCPUThread()
            defer { withExtendedLifetime(thread) {} }
            try Self.run(machine, start, from: 2 << 20, pages: 8 << 8)
            machine.giveBackExcess()
            #expect(try Self.resident(machine) >= 8 << 20)
            try Self.run(machine, start, from: 2 << 20, pages: 65 << 8)
            machine.giveBackExcess()
            #expect(try Self.resident(machine) <= Machine.idleBytes)
            try machine.prepare(start)
            #expect(try Self.occupied(machine) == Self.occupied(start))
        }
    }

    @Test
    func `what is counted of a second job's memory is the second job's`() async throws {
        try await onThread {
            let budget = Budget(touchedBytes: 8 << 20)
            let (machine, start) = (try Self.machine(16 << 20, budget), try Self.start(16 << 20))
            #expect(machine.kind.countsPages && machine.kind.restore == .giveBack)
            let thread = try VCPUThread()
            defer { withExtendedLifetime(thread) {} }
            try Self.run(machine, start, from: 2 << 20, pages: 1)
            let first = try Self.resident(machine)
            try Self.run(machine, start, from: 4 << 20, pages: 1000)
            #expect(try Self.resident(machine) >= first + (999 << 12))
            try Self.run(machine, start, from: 2 << 20, pages: 1)
            #expect(try Self.resident(machine) == first)
        }
    }

    @Test
    func `a machine is made for what its jobs ask of its memory`() throws {
        let profile = try Hardware.backend.get().profile
        let costs = profile.restore
        #expect((1...100_000).contains(costs.pageCopy))
        #expect((1...1_000_000).contains(costs.logReading))
        #expect(costs.pageProtection < 1_000_000)
        let sixteen = costs.policy(memoryBytes: 16 << 20)
        #expect(sixteen.isSticky == costs.hasStickyLog, "\(costs): \(sixteen)")
        #expect(try Self.machine(16 << 20).kind.restore == sixteen)
        let counted = MachineKind(
            memoryBytes: 16 << 20, mode: .long64, plan: .slices(.emulation), budget: Budget(steps: 1),
            isDeterministic: false,
            on: profile)
        #expect(counted.logsWrites && counted.restore == .clearingLog)
        let both = MachineKind(
            memoryBytes: 16 << 20, mode: .long64, plan: .slices(.emulation), budget: Budget(steps: 1, touchedBytes: 1),
            isDeterministic: false, on: profile)
        #expect(both.logsWrites && both.restore == .giveBack)
    }

    private static func resident(_ machine: Machine) throws -> UInt64 { try machine.vm.memory.residentBytes() }
    private static func occupied(_ machine: Machine) -> [UInt64] { machine.vm.memory.occupiedPages() }

    /// The pages of a machine that has run nothing.
    private static func occupied(_ start: StartingPoint) throws -> [UInt64] {
        let fresh = try Hardware.backend.get().hypervisor.makeVirtualMachine(memoryBytes: start.memory.bytes)
        try fresh.restore(to: start.memory)
        return fresh.memory.occupiedPages()
    }
}
