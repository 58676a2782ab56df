// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import VMRuntime

/// A doctor's report as JSON: one object on one line, every key always there.
///
/// | key | value |
/// |---|---|
/// | `can_run_jobs` | whether `kvmjob submit` would run a job |
/// | `kvm` | `usable`, `error` (what to do), `api_version`, `backend` (`software` or `hardware`), `abilities`: `paging_32_bit`, `sse_at_ring_0`, `keeps_registers_after_triple_fault`, `board_pc` |
/// | `modes` | of each: `mode`, `runs`, `steps` (`none`, `exact`, `bounded`), `meter` (what counts, for people), `reason` of `bounded`, `determinism` |
/// | `capabilities` | of each: `name`, `purpose`, `value` (0 when missing) |
/// | `worker` | `kind` (`socket` or `embedded`), `path`, `reachable`, `error`, `terms` |
///
/// `determinism`, of jobs that ask for it; null where there can be none: `cpuid_fixed`, `cpuid_unfixed_leaves` (those that tell
/// what this machine has), `rdtsc_readable`, `rdrand_readable`.
///
/// `terms`: `software`, `slots`, `modes`, `job_limit`, `image_limit`, `memory_minimum`, `memory_maximum`, `wall_maximum_ns`.
struct DoctorJSON {
    let report: DoctorReport

    var value: JSONValue {
        let findings = findings
        return .object([
            ("can_run_jobs", .bool(report.canRunJobs)), ("kvm", kvm),
            ("modes", .array((findings?.modes ?? []).map(mode))),
            ("capabilities", .array((findings?.capabilities ?? []).map(capability))), ("worker", worker),
        ])
    }

    private var findings: KVMFindings? {
        guard case .usable(let findings) = report.kvm else { return nil }
        return findings
    }

    private var kvm: JSONValue {
        var error: String?
        if case .unusable(let reason) = report.kvm { error = reason }
        return .object([
            ("usable", .bool(findings != nil)), ("error", .text(error)), ("api_version", .count(findings?.version)),
            ("backend", .text(findings.map { $0.isSoftware ? "software" : "hardware" })),
            ("abilities", findings.map { .object($0.abilities.map { ($0.key, .bool($0.isThere)) }) } ?? .null),
        ])
    }

    private func mode(_ finding: ModeFinding) -> JSONValue {
        .object([
            ("mode", .string(finding.mode.name)), ("runs", .bool(finding.runs)),
            ("steps", .string(finding.counting.rawValue)), ("meter", .text(finding.meter)),
            ("reason", .text(finding.inexactness)),
            ("determinism", finding.determinism.map(determinism) ?? .null),
        ])
    }

    private func determinism(_ finding: ModeDeterminism) -> JSONValue {
        .object([
            ("cpuid_fixed", .bool(finding.unfixedLeaves.isEmpty)),
            ("cpuid_unfixed_leaves", .array(finding.unfixedLeaves.map(JSONValue.hex))),
            ("rdtsc_readable", .bool(finding.readsClock)), ("rdrand_readable", .bool(finding.readsRandom)),
        ])
    }

    private func capability(_ name: String, _ purpose: String, _ value: Int32) -> JSONValue {
        .object([("name", .string(name)), ("purpose", .string(purpose)), ("value", .count(value))])
    }

    private var worker: JSONValue {
        switch report.worker {
        case .embedded: worker("embedded", path: nil, error: nil, terms: nil)
        case .unreachable(let path, let reason): worker("socket", path: path, error: reason, terms: nil)
        case .reachable(let path, let terms): worker("socket", path: path, error: nil, terms: terms)
        }
    }

    private func worker(_ kind: String, path: String?, error: String?, terms: WorkerTerms?) -> JSONValue {
        .object([
            ("kind", .string(kind)), ("path", .text(path)), ("reachable", path == nil ? .null : .bool(terms != nil)),
            ("error", .text(error)), ("terms", terms.map(describe) ?? .null),
        ])
    }

    private func describe(_ terms: WorkerTerms) -> JSONValue {
        .object([
            ("software", .string(terms.software)), ("slots", .count(terms.slots)),
            (
                "modes",
                .array(
                    terms.modes.map { mode, meter in
                        .object([("mode", .string(mode.name)), ("steps", .string(StepCounting(meter).rawValue))])
                    })
            ),
            ("job_limit", .count(terms.jobLimit)), ("image_limit", .count(terms.imageLimit)),
            ("memory_minimum", .count(terms.memoryMinimum)), ("memory_maximum", .count(terms.memoryMaximum)),
            ("wall_maximum_ns", .count(terms.wallMaximum.wholeNanoseconds)),
        ])
    }
}
