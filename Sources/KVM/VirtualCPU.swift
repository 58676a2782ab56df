// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
internal import Glibc

/// One virtual CPU.
///
/// Attach it to the thread that will run it, run it there, and detach it before another thread takes over. Registers are those
/// of the last return from ``run()``; they are final only when ``settle()`` has completed a port or memory access.
@safe public struct VirtualCPU: ~Copyable {
    /// Kicks this vCPU; may be used from any thread.
    public let kicker: Kicker

    /// What KVM made of the new vCPU: a job's start is this with what the job sets.
    public let pristine: VCPUState

    let descriptor: OwnedDescriptor
    let runArea: Mapping
    private let kick: UnsafeMutablePointer<ckvm_kick>
    let traits: VCPUTraits
    let notes: VCPUNotes
    let emulationCounter: StatisticsCounter?
    let faultCounter: StatisticsCounter?

    /// Which registers come and go through the run area instead of by a call: `KVM_SYNC_X86_*`.
    var synchronised: UInt64 { traits.synchronised }
    // SAFETY: the run area is mapped for as long as this value lives, and is at least as large as kvm_run.
    var runData: UnsafeMutablePointer<kvm_run> { unsafe runArea.base.assumingMemoryBound(to: kvm_run.self) }

    init(machine: Int32, number: UInt32, _ traits: VCPUTraits) throws(KVMError) {
        let descriptor = OwnedDescriptor(
            try KVMError.check(ckvm_ioctl_number(machine, CKVM_CREATE_VCPU, UInt(number)), .createVCPU))
        // SAFETY: ckvm_map_run_area stores an address only when it returns 0.
        var address: UnsafeMutableRawPointer? = nil
        _ = try KVMError.check(
            unsafe ckvm_map_run_area(descriptor.number, UInt64(traits.runAreaBytes), &address), .mapRunArea)
        guard let address = unsafe address else { throw .unexpectedReply(.mapRunArea) }
        let runArea = unsafe Mapping(adopting: address, count: traits.runAreaBytes)
        try traits.cpuid.apply(to: descriptor.number)
        let modelSpecific =
            if traits.filter != nil {
                MSRValues(MSRFilter.writable)
            } else {
                try MSRValues.restorable(traits.unfilteredMSRs, on: descriptor.number)
            }
        let pristine = try VCPUState(of: descriptor.number, traits, modelSpecific)
        let counter =
            traits.countsEmulation ? StatisticsCounter(named: "insn_emulation", of: descriptor.number) : nil
        let faults =
            traits.translations == .slot ? StatisticsCounter(named: "pf_taken", of: descriptor.number) : nil

        let run = unsafe address.assumingMemoryBound(to: kvm_run.self)
        unsafe run.pointee.kvm_valid_regs = traits.synchronised
        // The kernel fills these in at the end of a run; before the first one they would read as zeros.
        unsafe run.pointee.s.regs.regs = pristine.general
        unsafe run.pointee.s.regs.sregs = pristine.control
        unsafe run.pointee.s.regs.events = pristine.events
        // SAFETY: freed in deinit, after the kicker has let go of it.
        unsafe kick = UnsafeMutablePointer<ckvm_kick>.allocate(capacity: 1)
        unsafe kick.initialize(to: ckvm_kick(run: run, pending: 0))
        kicker = unsafe Kicker(kick)
        self.descriptor = descriptor
        self.runArea = runArea
        self.traits = traits
        self.pristine = pristine
        notes = VCPUNotes(modelSpecific: pristine.modelSpecific)
        emulationCounter = counter
        faultCounter = faults
    }

    deinit {
        kicker.retire()
        // SAFETY: nobody else holds the pointer any more; a vCPU is detached from its thread before it goes.
        unsafe kick.deallocate()
    }

    // MARK: Running

    /// Binds the vCPU to the calling thread, on which a ``VCPUThread`` lives: kicks and alarms now reach it.
    public borrowing func attach() {
        // SAFETY: detach() takes the pointer back before the vCPU goes.
        unsafe ckvm_set_current(kick)
        kicker.attach(thread: ckvm_thread_id())
    }

    /// Unbinds the vCPU from the calling thread.
    public borrowing func detach() {
        kicker.detach()
        ckvm_set_current(nil)
    }

    /// Enters the guest and blocks this thread until the guest needs the host or somebody kicks it.
    ///
    /// Completes the access of the exit before, with the values that were set meanwhile. After ``VMExit/interrupted`` call
    /// ``takeKick()``; until then every run comes back at once.
    ///
    /// - Throws: ``KVMError/call(_:errno:)`` with `.run`: the vCPU cannot be used again.
    ///
    /// `KVM_RUN`. Only on the thread that called ``attach()``.
    public borrowing func run() throws(KVMError) -> VMExit {
        // SAFETY: see `runData`; the kick outlives this value.
        guard unsafe ckvm_is_pending(kick) == 0 else { return .interrupted }
        return try enter() ?? .interrupted
    }

    /// Takes a kick back, so that the guest can be entered again. Returns whether there was one: a signal that was not ours
    /// interrupts a run too.
    public borrowing func takeKick() -> Bool {
        // SAFETY: the kick outlives this value.
        unsafe ckvm_take_pending(kick) != 0
    }

    /// Completes the access of the last exit, and puts registers that were set in their place, without letting the guest go on;
    /// then the registers are final. Costs nothing where there is nothing to do.
    ///
    /// - Returns: nil when all is complete; otherwise the next part of the same instruction, to be served and settled in turn,
    ///   or the single step that completing it was.
    ///
    /// `KVM_RUN` with `immediate_exit`.
    public borrowing func settle() throws(KVMError) -> VMExit? {
        // SAFETY: see `runData`.
        guard unsafe hasPendingAccess || runData.pointee.kvm_dirty_regs != 0 else { return nil }
        return try enterAndReturn()
    }

    /// Whether the last exit was for an access that only the next entry completes. Registers that are set before that would be
    /// changed by it.
    public var hasPendingAccess: Bool {
        // SAFETY: see `runData`.
        switch unsafe Int32(bitPattern: runData.pointee.exit_reason) {
        case KVM_EXIT_IO, KVM_EXIT_MMIO, KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR: true
        default: false
        }
    }

    /// Whether the last run came to no end of the guest's.
    public var wasInterrupted: Bool {
        // SAFETY: see `runData`.
        unsafe Int32(bitPattern: runData.pointee.exit_reason) == KVM_EXIT_INTR
    }

    /// `KVM_RUN` with `immediate_exit`: a kick that comes meanwhile is not lost, as its flag stays, and run() looks at the flag.
    borrowing func enterAndReturn() throws(KVMError) -> VMExit? {
        unsafe ckvm_set_immediate_exit(runData, 1)
        defer { unsafe ckvm_set_immediate_exit(runData, 0) }
        return try enter()
    }

    /// nil when the run was interrupted.
    private borrowing func enter() throws(KVMError) -> VMExit? {
        let result = ckvm_run(descriptor.number)
        // EAGAIN: an application processor's first run.
        if result == -EINTR || result == -EAGAIN {
            // The kernel leaves the reason of the exit before, whose access is complete now.
            unsafe runData.pointee.exit_reason = UInt32(KVM_EXIT_INTR)
            return nil
        }
        // The kernel takes the bits of what it has accepted away.
        if result == -EINVAL, unsafe runData.pointee.kvm_dirty_regs & UInt64(KVM_SYNC_X86_SREGS) != 0 {
            throw .call(.setSregs, errno: EINVAL)
        }
        _ = try KVMError.check(result, .run)
        let exit = unsafe VMExit(reading: runData)
        if exit.mayStopProcessor { notes.mayBeStopped = true }
        return exit
    }

    // MARK: Data of exits

    /// The value of one element of a ``VMExit/portOut(_:)``.
    public borrowing func portValue(at index: UInt32, of access: PortAccess) -> UInt32 {
        guard let element = unsafe portElement(index, of: access) else { return .max }
        // SAFETY: portElement checked that `size` bytes are there.
        switch access.size {
        case 1: return unsafe UInt32(element.load(as: UInt8.self))
        case 2: return unsafe UInt32(UInt16(littleEndian: element.loadUnaligned(as: UInt16.self)))
        default: return unsafe UInt32(littleEndian: element.loadUnaligned(as: UInt32.self))
        }
    }

    /// Answers one element of a ``VMExit/portIn(_:)`` with the low bytes of a value.
    public borrowing func setPortValue(_ value: UInt32, at index: UInt32, of access: PortAccess) {
        guard let element = unsafe portElement(index, of: access) else { return }
        // SAFETY: portElement checked that `size` bytes are there.
        switch access.size {
        case 1: unsafe element.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
        case 2: unsafe element.storeBytes(of: UInt16(truncatingIfNeeded: value).littleEndian, as: UInt16.self)
        default: unsafe element.storeBytes(of: value.littleEndian, as: UInt32.self)
        }
    }

    /// Answers a ``VMExit/mmioRead(address:size:)`` with the low bytes of a value.
    public borrowing func setMMIOValue(_ value: UInt64) {
        // SAFETY: see `runData`; `data` has eight bytes.
        unsafe withUnsafeMutableBytes(of: &runData.pointee.mmio.data) {
            unsafe $0.storeBytes(of: value.littleEndian, as: UInt64.self)
        }
    }

    /// Where one element's bytes are in the run area, or nil if the kernel's numbers lead outside it.
    private borrowing func portElement(_ index: UInt32, of access: PortAccess) -> UnsafeMutableRawPointer? {
        let offset = unsafe runData.pointee.io.data_offset
        let start = offset.addingReportingOverflow(UInt64(index) * UInt64(access.size))
        guard !start.overflow, start.partialValue <= UInt64(runArea.count),
            UInt64(runArea.count) - start.partialValue >= UInt64(access.size), index < access.count
        else { return nil }
        // SAFETY: the bounds were checked above.
        return unsafe runArea.base + Int(start.partialValue)
    }

    // MARK: Stepping

    /// Whether each ``run()`` ends after one instruction, as far as this backend can do that in the vCPU's mode.
    ///
    /// `KVM_SET_GUEST_DEBUG` with `KVM_GUESTDBG_SINGLESTEP`.
    public borrowing func setSingleStep(_ on: Bool) throws(KVMError) {
        var debug = kvm_guest_debug()
        debug.control = on ? CKVM_GUESTDBG_SINGLESTEP_ON : 0
        // SAFETY: the kernel reads one kvm_guest_debug.
        _ = try KVMError.check(
            unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_SET_GUEST_DEBUG, &debug), .setGuestDebug)
        notes.isStepped = on
        if on { notes.wasStepped = true }
    }

    /// Whether the vCPU has been stepped since the last ``forgetStepping()``, which says that nothing is left of it.
    public var wasStepped: Bool { notes.wasStepped }

    /// From here on the vCPU has not been stepped.
    public borrowing func forgetStepping() { notes.wasStepped = notes.isStepped }

    /// How many instructions KVM has emulated for this vCPU since it was made, or nil where the kernel does not tell.
    ///
    /// On a software backend that is nearly every instruction outside ring 3; on VT-x and SVM hardly any.
    /// The `insn_emulation` statistic of `KVM_GET_STATS_FD`.
    public borrowing func emulatedInstructions() -> UInt64? { emulationCounter?.value() }

    /// Whether a debug exception (vector 1) waits to be delivered to the guest.
    ///
    /// `KVM_GET_VCPU_EVENTS`, or the run area where the kernel keeps it there.
    public borrowing func hasPendingDebugException() throws(KVMError) -> Bool {
        let exception = try events().exception
        return (exception.injected != 0 || exception.pending != 0) && exception.nr == 1
    }

    /// The vector of the last exception that KVM itself raised in the guest; 0 before the first.
    ///
    /// `KVM_GET_VCPU_EVENTS`, or the run area where the kernel keeps it there.
    public borrowing func lastException() throws(KVMError) -> UInt8 { try events().exception.nr }

    /// A vector that no exception has.
    static var noVector: UInt8 { 0xFF }

    /// Makes ``hasRaisedException`` watch from here on. Returns false, and watches nothing, where that would take a call for
    /// each look, or while an exception is on its way to the guest.
    ///
    /// `KVM_SYNC_X86_EVENTS`: the kernel keeps the vector of the last exception until the next one.
    public borrowing func watchExceptions() -> Bool {
        guard synchronised != 0 else { return false }
        // SAFETY: see `runData`.
        let exception = unsafe runData.pointee.s.regs.events.exception
        guard exception.injected == 0, exception.pending == 0 else { return false }
        unsafe runData.pointee.s.regs.events.exception.nr = Self.noVector
        unsafe runData.pointee.kvm_dirty_regs |= UInt64(KVM_SYNC_X86_EVENTS)
        return true
    }

    /// Whether KVM has raised an exception in the guest since ``watchExceptions()`` returned true.
    public var hasRaisedException: Bool {
        // SAFETY: see `runData`.
        unsafe runData.pointee.s.regs.events.exception.nr != Self.noVector
    }

    borrowing func events() throws(KVMError) -> kvm_vcpu_events {
        var events = kvm_vcpu_events()
        if synchronised != 0 {
            events = unsafe runData.pointee.s.regs.events
        } else {
            // SAFETY: the kernel writes one kvm_vcpu_events.
            _ = try KVMError.check(
                unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_GET_VCPU_EVENTS, &events), .getVCPUEvents)
        }
        return events
    }

    /// The guest physical address behind a linear one by the vCPU's own page tables, or nil if none is there.
    ///
    /// `KVM_TRANSLATE`.
    public borrowing func translate(_ linearAddress: UInt64) throws(KVMError) -> UInt64? {
        var translation = kvm_translation()
        translation.linear_address = linearAddress
        // SAFETY: the kernel reads and writes one kvm_translation.
        _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_TRANSLATE, &translation), .translate)
        return translation.valid != 0 ? translation.physical_address : nil
    }
}
