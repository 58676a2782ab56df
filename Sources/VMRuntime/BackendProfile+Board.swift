// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What cannot be had together with a job's board.
extension BackendProfile {
    /// Why a job cannot run on the board that it asks for, if it cannot.
    func boardRefusal(of spec: JobSpec) -> Refusal? {
        switch spec.board {
        case .bare:
            guard spec.isROM else { return nil }
            return Refusal(.invalidField, "the image is a ROM, which board bare has no place for: ask for board pc")
        case .pc: return refusalOfPC(spec)
        }
    }

    private func refusalOfPC(_ spec: JobSpec) -> Refusal? {
        guard spec.mode != .user64, spec.mode != .linux else {
            return Refusal(
                .invalidField,
                "board pc is for real16, protected32 and long64 guests, and this one is \(spec.mode.name): leave the board out",
                value: UInt64(spec.mode.rawValue))
        }
        if spec.isDeterministic {
            return Refusal(
                .invalidField,
                "a job on board pc cannot be deterministic: its timer interrupts the guest by the clock on the wall")
        }
        if spec.snapshot != nil {
            return Refusal(
                .invalidField, "no snapshot is taken on board pc: interrupt controllers and timer are the kernel's")
        }
        if spec.isTraced {
            return Refusal(
                .invalidField,
                "there is no trace on board pc, whose timer interrupts the guest between any two instructions: leave it out"
            )
        }
        guard missingForPC.isEmpty else {
            let missing = missingForPC.joined(separator: ", ")
            return Refusal(
                .modeUnavailable, "this machine's KVM has no board pc, for want of \(missing); see kvmjob doctor")
        }
        return nil
    }
}
