// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CFloor
import Glibc
import GuestImage
import JobModel
import KVM
import VMRuntime

/// What it costs to bring a machine's memory back between jobs: against C that knows the pages which the guest has written, and
/// against a small image. Then what an idle machine keeps.
enum RestoreBenchmark {
    private static let cycles = 300
    private static let idleBytes: UInt64 = 1 << 20

    static func run() async throws {
        let profile = try Backend().profile
        let large = try RestoredMachine(.scatter, imageBytes: nil, memoryBytes: 64 << 20, pages: 256, profile)
        let small = try RestoredMachine(.scatter, imageBytes: 64, memoryBytes: 16 << 20, pages: 1, profile)
        let padded = try RestoredMachine(.scatter, imageBytes: 1 << 20, memoryBytes: 16 << 20, pages: 1, profile)
        let kvm = try FloorKVM()
        let oracle = try FloorMachine(large.floorStart, on: kvm)
        let subjects = [
            Subject(name: "64 MiB guest, 1 MiB written", unit: "jobs") { try large.rate(of: cycles) },
            Subject(name: "C that knows the pages", unit: "jobs") {
                try benchmarks.rate(of: cycles) {
                    try oracle.cycle(large.floorStart, first: RestoredMachine.firstWritten, pages: 256, times: cycles)
                }
            },
            Subject(name: "image of 64 bytes", unit: "jobs") { try small.rate(of: cycles) },
            Subject(name: "image of 1 MiB, there already", unit: "jobs") { try padded.rate(of: cycles) },
        ]
        let ratios = [
            Ratio(
                name: "restore and run again / C that knows the pages", of: "64 MiB guest, 1 MiB written",
                to: "C that knows the pages", goal: 1 / 1.1),
            Ratio(
                name: "image of 1 MiB / image of 64 bytes", of: "image of 1 MiB, there already",
                to: "image of 64 bytes", goal: 1 / 1.1),
        ]
        try await Measurement(subjects: subjects).run().print("restore", ratios: ratios)
        try printIdle(profile)
    }

    /// A job writes all that it can reach of 16 MiB; then the machine waits for the next.
    private static func printIdle(_ profile: BackendProfile) throws {
        let machine = try RestoredMachine(.scatter, imageBytes: nil, memoryBytes: 16 << 20, pages: 3584, profile)
        _ = try machine.rate(of: 2)
        let busy = try machine.residentBytes()
        try machine.trim(toBytes: idleBytes)
        let idle = try machine.residentBytes()
        guard busy >= 14 << 20 else { throw BenchmarkError("the guest of 16 MiB touched \(busy) bytes only") }
        print("  16 MiB guest, all touched: \(busy >> 10) KiB resident; idle: \(idle >> 10) KiB (goal 1024)")
        _ = try machine.rate(of: 2)
    }
}

/// A machine of the project's that runs the same job again and again.
private final class RestoredMachine {
    static let firstWritten: UInt64 = 0x20_0000

    let floorStart: FloorMachine.Start
    private let vm: VirtualMachine
    private let vcpu: VirtualCPU
    private let content: PristineMemory
    private let registers: Registers
    private let pages: Int

    /// - Parameter imageBytes: what the image is filled up to with ones; nil for no more than the guest.
    init(
        _ guest: Guest, imageBytes: Int?, memoryBytes: UInt64, pages: Int, _ profile: BackendProfile
    ) throws {
        var image = guest.image
        if let imageBytes { image += [UInt8](repeating: 1, count: max(imageBytes - image.count, 0)) }
        floorStart = try FloorMachine.Start(
            image, guest.mode, memoryBytes: memoryBytes, counter: UInt64(pages))
        let layout = floorStart.layout
        let hypervisor = try Hypervisor()
        vm = try hypervisor.makeVirtualMachine(
            memoryBytes: memoryBytes, restoring: profile.restore.policy(memoryBytes: memoryBytes))
        vcpu = try hypervisor.makeVirtualCPU(in: vm)
        content = PristineMemory(
            bytes: memoryBytes, pieces: layout.pieces.map { (address: $0.address, bytes: $0.bytes) })
        var registers = layout.registers
        registers.rcx = UInt64(pages)
        (self.registers, self.pages) = (registers, pages)
        try vm.restore(to: content)
        var start = vcpu.pristine
        start.system = layout.system
        try vcpu.load(start)
    }

    /// Jobs per second. The measurement may call from any thread.
    func rate(of count: Int) throws -> Double {
        let thread = try VCPUThread()
        defer { withExtendedLifetime(thread) {} }
        vcpu.attach()
        defer { vcpu.detach() }
        return try benchmarks.rate(of: count) {
            for _ in 0..<count { try cycle() }
        }
    }

    private func cycle() throws {
        try vm.restore(to: content)
        try vcpu.setRegisters(registers)
        guard case .portOut = try vcpu.run() else { throw BenchmarkError("the guest did not write to a port") }
        _ = try vcpu.settle()
        let last = Self.firstWritten + UInt64(pages - 1) * GuestMemory.pageBytes
        let byte = vm.memory.byte(at: last)
        guard byte == 1 else { throw BenchmarkError("the guest counted to \(byte) in memory that was to be zero") }
    }

    func residentBytes() throws -> UInt64 { try vm.memory.residentBytes() }
    func trim(toBytes bytes: UInt64) throws { try vm.trim(toBytes: bytes) }
}
