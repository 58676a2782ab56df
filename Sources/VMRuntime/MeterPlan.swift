// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
internal import KVM

/// How one job's steps are counted, decided when it is admitted.
enum MeterPlan: Sendable, Hashable {
    /// Not at all.
    case none
    /// ``DebugExitMeter``
    case debugExits
    /// ``GuestTrapMeter``
    case guestTrap
    /// ``SliceMeter`` over this counter.
    case slices(BackendProfile.Counter)

    /// Whether the vCPU's count of emulated instructions is needed.
    func countsEmulation(on profile: BackendProfile) -> Bool { self != .none && profile.countsEmulation }

    /// Whether the machine has to note which pages the guest writes.
    var logsWrites: Bool {
        if case .slices = self { return true }
        return false
    }

    /// The meter; nil where nothing is counted.
    func makeMeter(
        for machine: Machine, _ execution: Execution, on profile: BackendProfile
    ) throws(KVMError) -> (any StepMeter)? {
        switch self {
        case .none: return nil
        case .debugExits: return DebugExitMeter(machine: machine, execution: execution, backend: profile)
        case .guestTrap: return try GuestTrapMeter(machine: machine, execution: execution)
        case .slices(.emulation):
            return SliceMeter(EmulationCounter(), machine: machine, execution: execution, backend: profile)
        case .slices(.processor):
            let counter = try ProcessorCounter(machine.current.vcpu, on: execution.thread)
            return SliceMeter(counter, machine: machine, execution: execution, backend: profile)
        }
    }
}

extension BackendProfile {
    /// A way to count that lets the guest run on between two looks.
    public enum Counter: Sendable, Hashable {
        /// KVM's own count of emulated instructions: a software backend's.
        case emulation
        /// The processor's counter of retired instructions.
        case processor

        /// What it is, for people.
        public var text: String {
            switch self {
            case .emulation: "KVM's count of emulated instructions"
            case .processor: "the processor's count of retired instructions"
            }
        }
    }

    /// How well steps can be counted.
    public enum Counting: Sendable, Hashable {
        /// Not at all.
        case none
        /// To the instruction.
        case exact
        /// With an error that has a reason.
        case bounded(reason: String)
    }

    /// How well the steps of a mode can be counted here.
    public func counting(of mode: GuestMode) -> Counting {
        switch stepping(of: mode) {
        case .unavailable: .none
        case .guestTrap: .exact
        case .debugExits where stepsHandlers || mode == .user64: .exact
        case .debugExits: .bounded(reason: Self.handlersAreSkipped)
        }
    }

    /// Why single-stepping may miss instructions where the processor delivers exceptions itself.
    static let handlersAreSkipped = "this KVM does not step through exception handlers"

    func plan(for spec: JobSpec) -> MeterPlan {
        guard spec.needsSteps else { return .none }
        switch stepping(of: spec.mode) {
        case .unavailable: return .none
        case .guestTrap: return .guestTrap
        case .debugExits:
            // A meter in slices takes memory back, which other vCPUs have seen, and cannot take interrupt controllers back.
            let isStepped = spec.meter == .stepped || spec.isStopped || spec.vcpus > 1 || spec.board == .pc
            let counter = isStepped ? nil : counters[spec.mode]
            return counter.map(MeterPlan.slices) ?? .debugExits
        }
    }

    /// Why a job cannot run here, if it cannot.
    public func refusal(of spec: JobSpec) -> Refusal? {
        if let refusal = vcpuRefusal(of: spec) ?? boardRefusal(of: spec) { return refusal }
        guard modes[spec.mode] != nil else {
            return Refusal(
                .modeUnavailable, "this machine's KVM cannot run \(spec.mode.name) guests; see kvmjob doctor")
        }
        if spec.isDeterministic, let obstacle = determinism.obstacle {
            return Refusal(.modeUnavailable, "this machine cannot run deterministic jobs: \(obstacle)")
        }
        switch counting(of: spec.mode) {
        case .exact: return nil
        case .bounded(let reason):
            guard spec.meter != nil || spec.snapshot?.isBySteps == true || spec.turn != nil else { return nil }
            return Refusal(
                .modeUnavailable,
                "the steps of \(spec.mode.name) guests cannot be counted exactly here, since \(reason): leave the meter and the turn out, "
                    + "or take the snapshot when the guest is ready, or run it elsewhere; see kvmjob doctor")
        case .none:
            guard spec.needsSteps else { return nil }
            return Refusal(
                .modeUnavailable,
                "this machine's KVM cannot count the steps of \(spec.mode.name) guests: leave the step budget, the meter and "
                    + "the trace out, and take snapshots when the guest is ready; see kvmjob doctor")
        }
    }
}

extension JobSpec {
    /// Whether somebody has to count the guest's steps.
    fileprivate var needsSteps: Bool {
        budget.steps != nil || meter != nil || turn != nil || isStopped || snapshot?.isBySteps == true
    }

    /// Whether the guest is looked at after each of its steps.
    fileprivate var isStopped: Bool {
        if case .address = snapshot { return true }
        return isTraced
    }
}

extension SnapshotPoint {
    fileprivate var isBySteps: Bool {
        if case .steps = self { return true }
        return false
    }
}
