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
            ModeFinding(mode: mode, runs: profile.modes[mode] != nil, counting: StepCounting(mode, profile))
        }
        isSoftware = profile.countsEmulation
        keepsRegistersAfterShutdown = profile.keepsRegistersAfterShutdown
    }
}

extension StepCounting {
    fileprivate init(_ mode: GuestMode, _ profile: BackendProfile) {
        self =
            switch profile.modes[mode] {
            case nil, .unavailable: .none
            case .debugExits: profile.stepsHandlers ? .exact : .bounded
            case .guestTrap: .exact
            }
    }
}
