// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM
internal import LinuxPersonality

/// Finds out whether Linux programs can run here, and what SYSCALL and RDTSC do for them, by running one with known answers.
enum ProgramProbe {
    /// Long enough for it on any machine, short enough not to hang a start: 2 s.
    private static let patience: UInt64 = 2_000_000_000
    /// Calls that no kernel has, so that nothing but the worker answers them.
    private static let firstCall: UInt64 = 0x4000
    private static let secondCall: UInt64 = 0x4001
    private static let answer: UInt64 = 0x1234_5678

    /// `rdtsc; mov rdi, rax; mov rsi, rdx; mov eax, 0x4000; syscall; mov rdi, rax; mov eax, 0x4001; syscall`
    private static let code: [UInt8] = [
        0x0F, 0x31, 0x48, 0x89, 0xC7, 0x48, 0x89, 0xD6, 0xB8, 0x00, 0x40, 0, 0, 0x0F, 0x05,
        0x48, 0x89, 0xC7, 0xB8, 0x01, 0x40, 0, 0, 0x0F, 0x05,
    ]

    static func run(
        _ hypervisor: borrowing Hypervisor, _ profile: inout BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) {
        profile.modes[.linux] = nil
        guard profile.modes[.user64] != nil, let start = start() else { return }
        var kind = MachineKind(memoryBytes: start.memory.bytes)
        kind.exchangesGS = false
        let machine = try Machine(kind, on: hypervisor)
        try machine.prepare(start)
        machine.current.vcpu.attach()
        defer { machine.current.vcpu.detach() }
        try thread.setAlarm(at: MonotonicClock.now + patience)
        defer { try? thread.setAlarm(at: nil) }
        let before = TimeStampCounter.now
        guard let first = try call(of: machine, firstCall) else { return }
        let after = TimeStampCounter.now
        let privilege = try machine.current.vcpu.executionPoint().privilege
        let ticks = first.registers.rsi << 32 | first.registers.rdi
        first.registers.rax = answer
        try first.putBack()
        guard let second = try call(of: machine, secondCall), second.registers.rdi == answer else { return }
        // Steps are not counted: a program's calls are answered between them.
        profile.modes[.linux] = .unavailable
        profile.callsStayAtRing3 = privilege == 3
        profile.timeStamps = try timeStamps(ticks, between: before, after, machine)
    }

    private static func call(of machine: Machine, _ number: UInt64) throws(KVMError) -> ProgramSeat? {
        let seat = ProgramSeat(machine)
        guard case .call = try seat.take(try machine.current.vcpu.run()), seat.registers.rax == number else {
            return nil
        }
        return seat
    }

    private static func timeStamps(
        _ ticks: UInt64, between before: UInt64, _ after: UInt64, _ machine: Machine
    ) throws(KVMError) -> BackendProfile.TimeStamps {
        if (before...max(before, after)).contains(ticks) { return .host }
        guard let own = try machine.current.vcpu.timeStampCounter(), ticks <= own else { return .unknown }
        // What has passed since must be about the same by both.
        let (passed, passedHere) = (own - ticks, TimeStampCounter.now &- before)
        return passed <= passedHere ? .own : .unknown
    }

    private static func start() -> StartingPoint? {
        let spec = ProgramSpec(path: Array("/probe".utf8), arguments: [Array("probe".utf8)])
        guard let files = FileTree(files: [(path: "probe", content: FileBytes(image), mode: 0o755)]) else { return nil }
        return try? StartingPoint(program: spec, layers: [files], memoryBytes: 4 << 20)
    }

    /// The smallest program: an ELF header, one segment, and the code behind them.
    private static var image: [UInt8] {
        let address: UInt64 = 0x40_0000
        let headers = 64 + 56
        let size = UInt64(headers + code.count)
        let header: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0]
        let rest: [UInt8] = [0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]
        let segment: [UInt8] = [1, 0, 0, 0, 5, 0, 0, 0]
        return header + bytes([address + UInt64(headers), 64, 0]) + rest + segment
            + bytes([0, address, address, size, size, 0x1000]) + code
    }

    private static func bytes(_ words: [UInt64]) -> [UInt8] {
        words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
    }
}
