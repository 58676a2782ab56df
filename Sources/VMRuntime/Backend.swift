// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
public import KVM

/// An open KVM and what was found out about it; shared by all slots.
public final class Backend: Sendable {
    let hypervisor: Hypervisor
    /// What this KVM does where backends differ.
    public let profile: BackendProfile
    /// What `KVM_CHECK_EXTENSION` answered.
    public var capabilities: [Capability: Int32] { hypervisor.capabilities }

    /// Opens KVM and probes it on the calling thread, which takes some ten milliseconds and leaves that thread's kick signal
    /// unblocked.
    ///
    /// - Throws: ``KVMError`` when there is no KVM, or when it fails under the probe.
    public convenience init() throws(KVMError) { try self.init { _ in } }

    /// The same with something of the profile changed afterwards.
    init(adjusting adjust: (inout BackendProfile) -> Void) throws(KVMError) {
        let hypervisor = try Hypervisor()
        var profile = try Probe.run(hypervisor)
        adjust(&profile)
        self.profile = profile
        self.hypervisor = hypervisor
    }
}

/// The tiny guests. Each is a few bytes of machine code with one known answer.
private enum Probe {
    /// Long enough for any of these guests on any machine, short enough not to hang a start.
    private static let patience = Duration.seconds(2)

    static func run(_ hypervisor: borrowing Hypervisor) throws(KVMError) -> BackendProfile {
        let thread = try VCPUThread()
        var profile = BackendProfile()
        profile.keepsRegistersAfterShutdown = true
        profile.countsEmulation = try countsEmulation(hypervisor, thread)
        for mode in GuestMode.imageModes {
            guard let stepping = try stepping(of: mode, hypervisor, profile, thread) else { continue }
            profile.modes[mode] = stepping
        }
        if profile.modes[.real16] == .debugExits {
            profile.stepsHandlers = try stepsHandlers(hypervisor, profile, thread)
            profile.mergesStackSegmentLoads = try mergesStackSegmentLoads(hypervisor, profile, thread)
        }
        // Without it a triple fault that a timer interrupts would survive the way back.
        for mode in GuestMode.imageModes
        where profile.modes[mode] == .debugExits && hypervisor.capabilities[.tripleFaultEvent] != nil {
            profile.counters[mode] = try counter(for: mode, hypervisor, profile, thread)
        }
        profile.runs32BitPaging = try runs32BitPaging(hypervisor, profile, thread)
        profile.runsSSEAtRing0 = try runsSSE(hypervisor, profile, thread)
        profile.exchangesGS = try exchangesGS(hypervisor, profile, thread)
        profile.keepsRegistersAfterShutdown = try keepsRegisters(hypervisor, profile, thread)
        profile.determinism = try DeterminismProbe.run(hypervisor, modes: Set(profile.modes.keys), thread)
        profile.tellsExceptions = try tellsExceptions(hypervisor, profile, thread)
        profile.restore = try RestoreProbe.run(hypervisor, modes: Set(profile.modes.keys), thread)
        profile.translations = try TranslationProbe.run(hypervisor, profile, thread)
        try ProgramProbe.run(hypervisor, &profile, thread)
        profile.coalescesPortWrites = hypervisor.coalescesPortWrites
        profile.missingForPC = hypervisor.missingForPC
        return profile
    }

    /// `mov cx, 50; again: dec cx; jnz again; hlt`: 102 instructions.
    private static func countsEmulation(
        _ hypervisor: borrowing Hypervisor, _ thread: VCPUThread
    ) throws(KVMError) -> Bool {
        let image: [UInt8] = [0xB9, 50, 0, 0x49, 0x75, 0xFD, 0xF4]
        let machine = try machine(image, JobSpec(mode: .real16, memoryBytes: 2 << 20), hypervisor)
        machine.current.vcpu.attach()
        defer { machine.current.vcpu.detach() }
        try thread.setAlarm(at: MonotonicClock.now + patience.wholeNanoseconds)
        defer { try? thread.setAlarm(at: nil) }
        guard let before = machine.current.vcpu.emulatedInstructions() else { return false }
        _ = try machine.current.vcpu.run()
        return machine.current.vcpu.emulatedInstructions() == before + 102
    }

    /// nil when the mode does not run here at all.
    private static func stepping(
        of mode: GuestMode, _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) -> BackendProfile.Stepping? {
        guard try calibrate(mode, steps: nil, hypervisor, profile, thread).isRight else { return nil }
        for stepping in [BackendProfile.Stepping.debugExits, .guestTrap] where mode == .user64 || stepping != .guestTrap
        {
            var trial = profile
            trial.modes[mode] = stepping
            let run = try calibrate(mode, steps: 100, hypervisor, trial, thread)
            if run.isRight, run.steps == calibrationSteps { return stepping }
        }
        return .unavailable
    }

    /// `mov ecx, 3; again: out 0x80, al; in al, 0x80; dec ecx; jnz again;` then `hlt`, or `out 0xF4, al` at ring 3.
    private static let calibrationSteps: UInt64 = 14

    private static func calibrationImage(_ mode: GuestMode) -> [UInt8] {
        switch mode {
        case .real16: [0xB9, 3, 0, 0xE6, 0x80, 0xE4, 0x80, 0x49, 0x75, 0xF9, 0xF4]
        case .protected32, .long64: [0xB9, 3, 0, 0, 0, 0xE6, 0x80, 0xE4, 0x80, 0xFF, 0xC9, 0x75, 0xF8, 0xF4]
        case .user64, .linux: [0xB9, 3, 0, 0, 0, 0xE6, 0x80, 0xE4, 0x80, 0xFF, 0xC9, 0x75, 0xF8, 0xE6, 0xF4]
        }
    }

    private static func calibrate(
        _ mode: GuestMode, steps: UInt64?, _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile,
        _ thread: VCPUThread
    ) throws(KVMError) -> (isRight: Bool, steps: UInt64?) {
        let result = try execute(calibrationImage(mode), mode, steps: steps, hypervisor, profile, thread)
        // IN of an unclaimed port put all ones in AL.
        let expected: Outcome = mode == .user64 ? .exited(code: 0xFF) : .halted
        return (result.outcome == expected && result.registers?.rcx == 0, result.steps)
    }

    /// The counter that gets a loop of 2 × 1,000 instructions right between its IN, its OUT and its HLT, if one does.
    private static func counter(
        for mode: GuestMode, _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) -> BackendProfile.Counter? {
        let candidates: [BackendProfile.Counter] = profile.countsEmulation ? [.emulation] : [.processor]
        for candidate in candidates {
            var trial = profile
            trial.counters[mode] = candidate
            let run = Result { () throws(KVMError) in
                try execute(countedImage(mode), mode, steps: .max, hypervisor, trial, thread)
            }
            // A processor without a counter, or one that this user may not have, is no error.
            guard case .success(let result) = run else { continue }
            if result.steps == countedSteps, result.meter == .exact, result.exits.debug < countedSteps / 2 {
                return candidate
            }
        }
        return nil
    }

    /// `mov ecx, 1000; out 0x80, al; again: dec ecx; jnz again; in al, 0x80; hlt`, or at ring 3 `out 0xF4, al` for HLT.
    private static let countedSteps: UInt64 = 2004

    private static func countedImage(_ mode: GuestMode) -> [UInt8] {
        switch mode {
        case .real16: [0xB9, 0xE8, 3, 0xE6, 0x80, 0x49, 0x75, 0xFD, 0xE4, 0x80, 0xF4]
        case .protected32, .long64: [0xB9, 0xE8, 3, 0, 0, 0xE6, 0x80, 0xFF, 0xC9, 0x75, 0xFC, 0xE4, 0x80, 0xF4]
        case .user64, .linux: [0xB9, 0xE8, 3, 0, 0, 0xE6, 0x80, 0xFF, 0xC9, 0x75, 0xFC, 0xE4, 0x80, 0xE6, 0xF4]
        }
    }

    /// Divides by zero; the handler at 0x1010 is `nop; nop; hlt`: with `xor bl, bl` before, four instructions retire.
    private static func stepsHandlers(
        _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) -> Bool {
        var image = [UInt8](repeating: 0, count: 0x1013)
        image.replaceSubrange(0..<4, with: [0x10, 0x10, 0, 0])
        image.replaceSubrange(0x1000..<0x1004, with: [0x30, 0xDB, 0xF6, 0xF3])
        image.replaceSubrange(0x1010..., with: [0x90, 0x90, 0xF4])
        let result = try execute(
            image, .real16, load: 0, entry: 0x1000, steps: 100, hypervisor, profile, thread)
        return result.outcome == .halted && result.steps == 4
    }

    /// `mov ax, ss; mov ss, ax; nop; nop; hlt`: five instructions, or seemingly four.
    private static func mergesStackSegmentLoads(
        _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) -> Bool {
        let image: [UInt8] = [0x8C, 0xD0, 0x8E, 0xD0, 0x90, 0x90, 0xF4]
        return try execute(image, .real16, steps: 100, hypervisor, profile, thread).steps == 4
    }

    /// Maps the first 4 MiB onto themselves by one large page whose entry it puts at 0x180000, and turns paging on.
    private static func runs32BitPaging(
        _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) -> Bool {
        let image: [UInt8] = [
            0xC7, 0x05, 0, 0, 0x18, 0, 0x83, 0, 0, 0,  // mov dword [0x180000], 0x83: present, writable, large
            0x0F, 0x20, 0xE0, 0x0C, 0x10, 0x0F, 0x22, 0xE0,  // CR4.PSE
            0xB8, 0, 0, 0x18, 0, 0x0F, 0x22, 0xD8,  // CR3
            0x0F, 0x20, 0xC0, 0x0D, 0, 0, 0, 0x80, 0x0F, 0x22, 0xC0,  // CR0.PG
            0xB0, 0x2A, 0xF4,  // mov al, 42; hlt
        ]
        let result = try execute(image, .protected32, hypervisor, profile, thread)
        return result.outcome == .halted && result.registers.map { $0.rax & 0xFF } == 0x2A
    }

    /// `xorps xmm0, xmm0; hlt`
    private static func runsSSE(
        _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) -> Bool {
        try execute([0x0F, 0x57, 0xC0, 0xF4], .long64, hypervisor, profile, thread).outcome == .halted
    }

    /// `swapgs; hlt`
    private static func exchangesGS(
        _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) -> Bool {
        try execute([0x0F, 0x01, 0xF8, 0xF4], .long64, hypervisor, profile, thread).outcome == .halted
    }

    /// `mov eax, 0x12345678; ud2` without an interrupt table.
    private static func keepsRegisters(
        _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) -> Bool {
        let image: [UInt8] = [0xB8, 0x78, 0x56, 0x34, 0x12, 0x0F, 0x0B]
        let result = try execute(image, .protected32, hypervisor, profile, thread)
        return result.outcome == .tripleFault && result.registers?.rax == 0x1234_5678
    }

    /// `xor bl, bl; div bl`, and a store to an address without a page: what the processor raises by itself on VT-x and SVM.
    private static func tellsExceptions(
        _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) -> Bool {
        guard profile.keepsRegistersAfterShutdown, profile.modes[.long64] != nil else { return false }
        var trial = profile
        trial.tellsExceptions = true
        let divide = try execute([0x30, 0xDB, 0xF6, 0xF3], .protected32, hypervisor, trial, thread)
        // mov rbx, 0x1000000000; mov byte [rbx], 1
        let store: [UInt8] = [0x48, 0xBB, 0, 0, 0, 0, 0x10, 0, 0, 0, 0xC6, 0x03, 1]
        let access = try execute(store, .long64, hypervisor, trial, thread)
        let load = GuestLayout.flatLoadAddress
        return divide.postMortem.cause == Fault(vector: 0, errorCode: nil, address: nil, rip: load + 2)
            && access.postMortem.cause == Fault(vector: 14, errorCode: 2, address: 0x10_0000_0000, rip: load + 10)
    }

    private static func execute(
        _ image: [UInt8], _ mode: GuestMode, load: UInt64? = nil, entry: UInt64? = nil, steps: UInt64? = nil,
        _ hypervisor: borrowing Hypervisor, _ profile: BackendProfile, _ thread: VCPUThread
    ) throws(KVMError) -> JobResult {
        let spec = JobSpec(
            mode: mode, loadAddress: load, entryPoint: entry, memoryBytes: 2 << 20,
            budget: Budget(steps: steps, wallTime: patience))
        let plan = profile.plan(for: spec)
        let machine = try machine(image, spec, hypervisor, logsWrites: plan.logsWrites)
        let execution = Execution(
            machine, budget: spec.budget, reportsPortWrites: false, plan: plan, control: JobControl(hasInput: false),
            thread: thread, backend: profile, emit: { _ in })
        switch execution.run() {
        case .ended(let result): return result
        case .paused: preconditionFailure("a probe was paused without asking for it")
        }
    }

    private static func machine(
        _ image: [UInt8], _ spec: JobSpec, _ hypervisor: borrowing Hypervisor, logsWrites: Bool = false
    ) throws(KVMError) -> Machine {
        let layout = Result<GuestLayout, Refusal> { () throws(Refusal) in try GuestLayout(flat: image, spec: spec) }
        switch layout {
        case .success(let layout):
            let machine = try Machine(
                MachineKind(memoryBytes: layout.memoryBytes, countsEmulation: true, logsWrites: logsWrites),
                on: hypervisor)
            try machine.prepare(StartingPoint(layout))
            return machine
        case .failure(let refusal): preconditionFailure("a probe's image was refused: \(refusal.message)")
        }
    }
}
