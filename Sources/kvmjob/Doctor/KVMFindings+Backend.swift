// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM
internal import VMRuntime

extension KVMFinding {
    /// Opens `/dev/kvm` and runs the worker's own tiny guests; takes some ten milliseconds.
    static func probe() -> KVMFinding {
        do {
            return .usable(KVMFindings(try Backend()))
        } catch {
            return .unusable(error.description)
        }
    }
}

extension KVMFindings {
    fileprivate init(_ backend: Backend) {
        let profile = backend.profile
        // Opening has checked the version.
        version = Hypervisor.apiVersion
        capabilities = Capability.allCases.map { ($0.name, $0.purpose, backend.capabilities[$0] ?? 0) }
        modes = GuestMode.allCases.map { mode in
            ModeFinding(mode, profile)
        }
        isSoftware = profile.countsEmulation
        abilities = [
            Ability(key: "paging_32_bit", name: "32-bit paging in protected32", isThere: profile.runs32BitPaging),
            Ability(key: "sse_at_ring_0", name: "SSE at ring 0", isThere: profile.runsSSEAtRing0),
            Ability(
                key: "keeps_registers_after_triple_fault", name: "registers after a triple fault",
                isThere: profile.keepsRegistersAfterShutdown),
            Ability(key: "board_pc", name: "board pc", isThere: profile.missingForPC.isEmpty),
        ]
        determinismObstacle = profile.determinism.obstacle
    }
}

extension ModeFinding {
    fileprivate init(_ mode: GuestMode, _ profile: BackendProfile) {
        let counting = profile.counting(of: mode)
        self.init(mode: mode, runs: profile.modes[mode] != nil, counting: StepCounting(counting))
        if case .bounded(let reason) = counting { inexactness = reason }
        determinism = profile.determinism.modes[mode]
        meter =
            switch profile.modes[mode] {
            case nil, .unavailable: nil
            case .guestTrap: "the processor's own step trap"
            case .debugExits: profile.counters[mode].map { "\($0.text), single-stepping" } ?? "single-stepping"
            }
    }
}

extension StepCounting {
    fileprivate init(_ counting: BackendProfile.Counting) {
        self =
            switch counting {
            case .none: .none
            case .exact: .exact
            case .bounded: .bounded
            }
    }
}
