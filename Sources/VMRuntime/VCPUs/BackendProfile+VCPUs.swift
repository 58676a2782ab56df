// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What cannot be had together with several vCPUs.
extension BackendProfile {
    /// Why a job cannot have the vCPUs that it asks for, if it cannot.
    func vcpuRefusal(of spec: JobSpec) -> Refusal? {
        guard (1...JobSpec.maximumVCPUs).contains(spec.vcpus) else {
            return Refusal(
                .invalidField, "a job has 1 to \(JobSpec.maximumVCPUs) vCPUs, and this one asks for \(spec.vcpus)",
                limit: UInt64(JobSpec.maximumVCPUs), value: UInt64(clamping: spec.vcpus))
        }
        if spec.turn == 0 { return Refusal(.invalidField, "a turn has at least 1 step", value: 0) }
        guard spec.vcpus > 1 else {
            guard spec.turn != nil else { return nil }
            return Refusal(.invalidField, "turns are for several vCPUs: ask for them, or leave the turn out")
        }
        return obstacle(for: spec).map { Refusal(.invalidField, "a job with \(spec.vcpus) vCPUs \($0)") }
    }

    private func obstacle(for spec: JobSpec) -> String? {
        if spec.mode == .user64 || spec.mode == .linux {
            return "is one of real16, protected32 or long64: \(spec.mode.name) programs have one"
        }
        if spec.snapshot != nil { return "does not end as a snapshot, which is of one" }
        if spec.isTraced { return "is not traced: a trace tells of one" }
        if spec.pausesWhenStepsRunOut { return "does not pause: the others would not stand between two instructions" }
        for name in [RegisterName.rdi, .rsi] where spec.board == .bare && spec.registers[name] != nil {
            return "finds their numbers in rdi and how many there are in rsi: leave \(name.name) out"
        }
        if spec.board == .pc, spec.turn != nil || spec.meter != nil || spec.budget.steps != nil {
            return
                "has no steps counted on board pc, and so no turns, for one that waits there for another would wait for ever"
        }
        guard spec.turn == nil else { return nil }
        if spec.isDeterministic { return "is deterministic only if they take turns: ask for a turn too" }
        if spec.meter != nil {
            return "has its steps counted exactly only if they take turns: ask for a turn too, or leave the meter out"
        }
        return nil
    }
}
