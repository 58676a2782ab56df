// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// Finds out whether a way through a state without paging is enough to make a vCPU forget its translations: a program reads by an
/// address, the worker makes its page tables lead that address elsewhere, and the program reads again.
enum TranslationProbe {
    private static let patience = Duration.seconds(2)
    /// A backend for which it is not enough can have lost one translation by chance; hardly so often.
    private static let tries = 4

    /// `mov eax, [0x300000]; out 0x80, al; mov eax, [0x300000]; out 0x80, al`
    private static let image: [UInt8] = [
        0x8B, 0x04, 0x25, 0, 0, 0x30, 0, 0xE6, 0x80, 0x8B, 0x04, 0x25, 0, 0, 0x30, 0, 0xE6, 0x80,
    ]
    /// What is at the address: nothing, and the image's first bytes.
    private static let (expectedBefore, expectedBehind): (UInt64, UInt64) = (0, 0x25_048B)

    static func run(
        _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) -> TranslationReset {
        // Who emulates instructions keeps a shadow of the tables for those that it does not.
        guard !profile.countsEmulation, profile.modes[.user64] != nil else { return .slot }
        return try isEnough(hypervisor, thread) ? .registers : .slot
    }

    static func isEnough(_ hypervisor: borrowing Hypervisor, _ thread: VCPUThread) throws(KVMError) -> Bool {
        let layout = Result<GuestLayout, Refusal> { () throws(Refusal) in
            try GuestLayout(flat: image, spec: JobSpec(mode: .user64, memoryBytes: 4 << 20))
        }
        guard case .success(let layout) = layout else { preconditionFailure("a probe's image was refused") }
        let start = StartingPoint(layout)
        var kind = MachineKind(memoryBytes: layout.memoryBytes)
        kind.translations = .registers
        let machine = try Machine(kind, on: hypervisor)
        machine.current.vcpu.attach()
        defer { machine.current.vcpu.detach() }
        try thread.setAlarm(at: MonotonicClock.now + patience.wholeNanoseconds)
        defer { try? thread.setAlarm(at: nil) }
        for _ in 0..<tries where try !followsTables(machine, start) { return false }
        return true
    }

    private static func followsTables(_ machine: Machine, _ start: StartingPoint) throws(KVMError) -> Bool {
        try machine.prepare(start)
        guard try read(machine) == expectedBefore else { return false }
        let state = try machine.current.vcpu.capture()
        guard machine.vm.memory.setWord(SystemArea.entry(leadingTo: 0), at: SystemArea.entryOfSecondPage) else {
            return false
        }
        try machine.current.vcpu.load(state)
        return try read(machine) == expectedBehind
    }

    /// What the program has read at its next output.
    private static func read(_ machine: Machine) throws(KVMError) -> UInt64? {
        guard case .portOut = try machine.current.vcpu.run(), try machine.current.vcpu.settle() == nil else {
            return nil
        }
        return try machine.current.vcpu.registers().rax
    }
}
