// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
public import KVM

/// What this machine's KVM does where backends differ, found out by running tiny guests with known answers.
///
/// On VT-x and SVM the processor runs every mode; a software backend emulates all but ring 3 of long mode, one instruction at a
/// time. Nothing is assumed from the processor's or the module's name.
public struct BackendProfile: Sendable, Hashable {
    /// How the steps of a mode can be counted.
    public enum Stepping: Sendable, Hashable {
        /// KVM stops after each instruction: ``DebugExitMeter``.
        case debugExits
        /// The step trap goes to the guest, whose stub reports it: ``GuestTrapMeter``.
        case guestTrap
        /// Not at all, or not rightly.
        case unavailable
    }

    /// The modes in which a guest ran to its end, and how their steps can be counted.
    public internal(set) var modes: [GuestMode: Stepping] = [:]
    /// In which of them a counter can be had that spares most single steps.
    public internal(set) var counters: [GuestMode: Counter] = [:]
    /// Single steps before a counter's first slice: most jobs are over by then, and a slice needs a copy of memory.
    var stepsBeforeSlices: UInt64 = 256
    /// KVM's count of emulated instructions is the count of all instructions outside ring 3.
    public internal(set) var countsEmulation = false
    /// Single-stepping goes on inside exception handlers.
    public internal(set) var stepsHandlers = true
    /// MOV SS and POP SS are stepped together with the next instruction.
    public internal(set) var mergesStackSegmentLoads = false
    /// A `protected32` guest can turn 32-bit paging on.
    public internal(set) var runs32BitPaging = false
    /// SSE instructions run at ring 0.
    public internal(set) var runsSSEAtRing0 = false
    /// After a triple fault the vCPU still has the registers of the fault.
    public internal(set) var keepsRegistersAfterShutdown = false
    /// What the machine leaves different between two runs of a deterministic job.
    public internal(set) var determinism = DeterminismProfile()
    /// KVM raises all exceptions outside ring 3 itself, so that it can tell which one began a triple fault.
    public internal(set) var tellsExceptions = false
    /// KVM can gather a guest's port writes without an exit for each.
    public internal(set) var coalescesPortWrites = false

    /// What this KVM lacks for the board of a PC: the names of capabilities.
    public internal(set) var missingForPC: [String] = []

    /// SYSCALL goes where LSTAR says and stays at ring 3.
    public internal(set) var callsStayAtRing3 = false
    /// What a guest's time-stamp counter shows.
    var timeStamps = TimeStamps.unknown
    /// How fast it runs.
    let timeStampRate = TimeStampRate()

    /// What RDTSC gives a guest.
    enum TimeStamps: Sendable, Hashable {
        case unknown
        /// This processor's counter.
        case host
        /// What KVM says of it.
        case own
    }

    /// SWAPGS runs at ring 0.
    public internal(set) var exchangesGS = true
    /// How a machine whose guests may change page tables forgets them.
    public internal(set) var translations = TranslationReset.slot

    /// What bringing a machine's memory back costs.
    public internal(set) var restore = RestoreCosts(hasStickyLog: false, pageCopy: 0, logReading: 0, pageProtection: 0)

    /// Whether KVM's single-stepping reaches ring 3 of long mode.
    var stepsRing3: Bool { modes[.user64] == .debugExits }

    func stepping(of mode: GuestMode) -> Stepping { modes[mode] ?? .unavailable }
}
