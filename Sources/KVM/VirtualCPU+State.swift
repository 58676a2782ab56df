// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// What it takes to make a vCPU forget all that it did, in the order in which it is done.
///
/// A list, so that a test can leave out one after the other and see what leaks then.
public enum ResetStep: Sendable, Hashable, CaseIterable {
    /// A HLT that stepping hid is taken; otherwise it would end the next guest's first run. Whoever has the machine sees to it
    /// before all others: ``VirtualCPU/wasStepped``.
    case hiddenHalt
    /// An access that a guest was stopped in the middle of is completed; otherwise its completion would change the registers,
    /// or the memory, of the next guest. Before memory is restored, since the completion may write there.
    case pendingAccess
    /// Single-stepping is turned off, if it was on.
    case stepping
    /// XCR0; before the state that it governs.
    case extendedControls
    /// x87, SSE, AVX and later state.
    case extendedState
    /// The debug registers.
    case debugRegisters
    /// The model-specific registers, if they may hold something else. Before memory is restored: without a filter they may have the
    /// host write there.
    case modelSpecific
    /// A processor that was shut down runs again.
    case activity
    /// Which physical addresses linear ones led to: ``TranslationReset``. Where registers are not enough whoever has the machine
    /// sees to it, behind all others: ``VirtualMachine/forgetTranslations(of:)``.
    case translations
    /// The general registers; before the events, which setting them would clear.
    case general
    /// Segments, descriptor tables and control registers.
    case system
    /// Pending exceptions, NMIs and triple faults, and the shadow of STI and MOV SS.
    case events
    /// The task priority that the kernel takes from the run area at each entry.
    case taskPriority
    /// The wish for an exit when interrupts can be taken.
    case interruptWindow
    /// What the last accesses to ports and outside memory left in the run area.
    case accessData
    /// The last exit, and a kick that came behind it.
    case lastExit

    /// ``allCases``, made once.
    static let order = allCases
}

extension VirtualCPU {
    /// The most parts of one access, such as elements of a string, that are completed before the vCPU is taken for stuck.
    public static var maximumTrailingParts: Int { 64 }

    /// Takes the vCPU's state. Settle a port or memory access first.
    ///
    /// - Throws: ``KVMError/unexpectedReply(_:)`` with `.run` in the middle of an access.
    ///
    /// Eight calls and more: `KVM_RUN` with `immediate_exit`, so that registers that were set are in their place, and `KVM_GET_*`.
    public borrowing func capture() throws(KVMError) -> VCPUState {
        guard !hasPendingAccess else { throw .unexpectedReply(.run) }
        _ = try enterAndReturn()
        return try VCPUState(of: descriptor.number, traits, pristine.modelSpecific)
    }

    /// Makes the vCPU one that is in this state, whatever it was before and whatever it ran.
    ///
    /// Restore guest memory afterwards, not before: completing an access may write there.
    ///
    /// Three calls, `KVM_SET_XCRS`, `KVM_SET_XSAVE` and `KVM_SET_DEBUGREGS`; `KVM_SET_MSRS` where the guest may have written
    /// model-specific registers, or they should hold something else; what a job's end asks for besides. The registers go through the
    /// run area with the next run, which then also tells of a state that this processor refuses: ``KVMError/call(_:errno:)`` with
    /// `.setSregs` and `EINVAL`.
    ///
    /// - Throws: ``KVMError``; then, or when a run throws, the vCPU is not to be used again.
    public borrowing func load(_ state: VCPUState, omitting omitted: ResetStep? = nil) throws(KVMError) {
        for step in ResetStep.order where step != omitted { try perform(step, state) }
    }

    private borrowing func perform(_ step: ResetStep, _ state: borrowing VCPUState) throws(KVMError) {
        switch step {
        case .hiddenHalt: return
        case .pendingAccess: guard try abandonAccess() else { throw .unexpectedReply(.run) }
        case .stepping: if notes.isStepped { try setSingleStep(false) }
        case .extendedControls:
            if traits.hasExtendedControls { try set(state.extendedControls, CKVM_SET_XCRS, .setXCRS) }
        case .extendedState: try state.extended.set(on: descriptor.number)
        case .debugRegisters: try set(state.debug, CKVM_SET_DEBUGREGS, .setDebugRegs)
        case .modelSpecific: try loadModelSpecific(state)
        case .activity: if notes.mayBeStopped { try setRunnable() }
        case .translations: try leavePaging()
        case .general: try loadGeneral(state)
        case .system: try loadSystem(state)
        case .events: try loadEvents(state)
        // SAFETY: see `runData`.
        case .taskPriority: unsafe runData.pointee.cr8 = state.control.cr8
        case .interruptWindow: unsafe runData.pointee.request_interrupt_window = 0
        case .accessData: clearAccessData()
        case .lastExit:
            unsafe runData.pointee.exit_reason = UInt32(KVM_EXIT_UNKNOWN)
            _ = takeKick()
        }
    }

    /// Completes what is pending. An IN or a load that nobody answered any more reads as zeros, and nobody hears of what is written.
    ///
    /// - Returns: whether nothing is pending now. If something is, the vCPU is not to be used again.
    public borrowing func abandonAccess() throws(KVMError) -> Bool {
        for _ in 0..<Self.maximumTrailingParts {
            guard hasPendingAccess else { return true }
            guard try enterAndReturn() != nil else { return true }
            if hasPendingAccess { clearAccessData() }
        }
        return !hasPendingAccess
    }

    // MARK: Parts

    /// - Parameter request: reads one `T`.
    private borrowing func set<T: BitwiseCopyable>(
        _ value: T, _ request: UInt, _ call: KVMError.Call
    ) throws(KVMError) {
        var value = value
        // SAFETY: the kernel reads one value of this type.
        _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(descriptor.number, request, &value), call)
    }

    private borrowing func loadModelSpecific(_ state: borrowing VCPUState) throws(KVMError) {
        let values = state.modelSpecific
        if notes.modelSpecific != values { try values.set(on: descriptor.number) }
        // A guest that writes by way of the worker is noted when it does, and one that turns long mode on, where SWAPGS is.
        let maySwap = traits.exchangesGS && state.control.efer & Self.longModeEnable != 0
        let isNoted = !maySwap && traits.filter?.isNoted ?? false
        notes.modelSpecific = isNoted ? values : nil
    }

    private borrowing func setRunnable() throws(KVMError) {
        try set(kvm_mp_state(mp_state: UInt32(KVM_MP_STATE_RUNNABLE)), CKVM_SET_MP_STATE, .setMPState)
        notes.mayBeStopped = false
    }

    private borrowing func loadGeneral(_ state: borrowing VCPUState) throws(KVMError) {
        guard synchronised != 0 else { return try set(state.general, CKVM_SET_REGS, .setRegs) }
        unsafe runData.pointee.s.regs.regs = state.general
        unsafe runData.pointee.kvm_dirty_regs |= UInt64(KVM_SYNC_X86_REGS)
    }

    private borrowing func loadSystem(_ state: borrowing VCPUState) throws(KVMError) {
        guard synchronised != 0 else { return try set(state.control, CKVM_SET_SREGS, .setSregs) }
        unsafe runData.pointee.s.regs.sregs = state.control
        unsafe runData.pointee.kvm_dirty_regs |= UInt64(KVM_SYNC_X86_SREGS)
    }

    private borrowing func loadEvents(_ state: borrowing VCPUState) throws(KVMError) {
        guard synchronised != 0 else { return try set(state.events, CKVM_SET_VCPU_EVENTS, .setVCPUEvents) }
        unsafe runData.pointee.s.regs.events = state.events
        unsafe runData.pointee.kvm_dirty_regs |= UInt64(KVM_SYNC_X86_EVENTS)
    }

    /// The page for port data, and what the exit itself tells.
    private borrowing func clearAccessData() {
        let page = Int(GuestMemory.pageBytes)
        // An answer to come lies in the exit's own bytes or in the page behind.
        if unsafe runData.pointee.exit_reason == UInt32(KVM_EXIT_MMIO) { setMMIOValue(0) }
        let start = Int(KVM_PIO_PAGE_OFFSET) * page
        guard runArea.count >= start + page else { return }
        // SAFETY: the bounds were checked above.
        unsafe (runArea.base + start).initializeMemory(as: UInt8.self, repeating: 0, count: page)
    }
}

extension VCPUState {
    /// Asks the kernel for all of it.
    init(of vcpu: Int32, _ traits: VCPUTraits, _ modelSpecific: MSRValues) throws(KVMError) {
        general = try Self.ask(vcpu, kvm_regs(), CKVM_GET_REGS, .getRegs)
        control = try Self.ask(vcpu, kvm_sregs(), CKVM_GET_SREGS, .getSregs)
        events = try Self.ask(vcpu, kvm_vcpu_events(), CKVM_GET_VCPU_EVENTS, .getVCPUEvents)
        extended = try ExtendedState(of: vcpu, count: traits.extendedBytes)
        extendedControls =
            traits.hasExtendedControls ? try Self.ask(vcpu, kvm_xcrs(), CKVM_GET_XCRS, .getXCRS) : kvm_xcrs()
        debug = try Self.ask(vcpu, kvm_debugregs(), CKVM_GET_DEBUGREGS, .getDebugRegs)
        self.modelSpecific = modelSpecific
        try self.modelSpecific.read(from: vcpu)
    }

    /// - Parameter request: writes one `T`.
    private static func ask<T: BitwiseCopyable>(
        _ vcpu: Int32, _ value: T, _ request: UInt, _ call: KVMError.Call
    ) throws(KVMError) -> T {
        var value = value
        // SAFETY: the kernel writes one value of this type.
        _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(vcpu, request, &value), call)
        return value
    }
}
