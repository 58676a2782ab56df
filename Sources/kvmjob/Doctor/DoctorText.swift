// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import VMRuntime

/// A doctor's report for people.
struct DoctorText {
    let report: DoctorReport

    private var lines: [String] {
        kvmLines + [""] + workerLines + ["", report.canRunJobs ? "Jobs can run here." : "Jobs cannot run here."]
    }

    /// The lines, without a last newline.
    var text: String { lines.joined(separator: "\n") }

    private var kvmLines: [String] {
        switch report.kvm {
        case .unusable(let reason): ["KVM", "  not usable: \(reason)"]
        case .usable(let findings):
            ["KVM", "  /dev/kvm is there and may be used; API version \(findings.version)", "  " + backend(findings)]
                + ["", "Modes"] + findings.modes.map(line) + ["", "Guests"] + findings.abilities.map(line)
                + ["", "Deterministic jobs"] + determinism(findings)
                + ["", "Capabilities"] + findings.capabilities.map(line)
        }
    }

    private func backend(_ findings: KVMFindings) -> String {
        findings.isSoftware
            ? "software backend: ring 3 runs at native speed, all else is emulated one instruction at a time"
            : "hardware-assisted backend: the processor runs every mode"
    }

    private func line(_ finding: ModeFinding) -> String {
        guard finding.runs else { return Self.row(finding.mode.name, "does not run") }
        let meter = finding.meter.map { " by \($0)" } ?? ""
        let reason = finding.inexactness.map { ": \($0)" } ?? ""
        return Self.row(finding.mode.name, "runs; \(finding.counting.text)\(meter)\(reason)")
    }

    private func line(_ ability: KVMFindings.Ability) -> String {
        Self.row(ability.name, width: 34, ability.isThere ? "yes" : "no")
    }

    private func determinism(_ findings: KVMFindings) -> [String] {
        if let obstacle = findings.determinismObstacle { return ["  cannot run here: \(obstacle)"] }
        return findings.modes.compactMap { mode in
            mode.determinism.map { Self.row(mode.mode.name, Self.describe($0)) }
        }
    }

    /// The most CPUID leaves that are named; more are as good as all.
    private static let leavesNamed = 4

    private static func describe(_ finding: ModeDeterminism) -> String {
        let leaves = finding.unfixedLeaves
        let cpuid =
            leaves.isEmpty
            ? "CPUID fixed"
            : leaves.count > leavesNamed
                ? "CPUID is the processor's"
                : "CPUID fixed but for leaf " + leaves.map(HexText.describe).joined(separator: ", ")
        return [
            cpuid, finding.readsClock ? "RDTSC readable" : "RDTSC faults",
            finding.readsRandom ? "RDRAND readable" : "RDRAND does not run",
        ].joined(separator: "; ")
    }

    private func line(_ name: String, _ purpose: String, _ value: Int32) -> String {
        Self.row(name, width: 28, "\(value > 0 ? "yes    " : "missing") \(purpose)")
    }

    private var workerLines: [String] {
        switch report.worker {
        case .embedded:
            ["Worker", "  no service at \(WorkerChoice.defaultPath): jobs run in kvmjob's own process"]
        case .unreachable(let path, let reason): ["Worker at \(path)", "  \(reason)"]
        case .reachable(let path, let terms): ["Worker at \(path)"] + Self.describe(terms)
        }
    }

    private static func describe(_ terms: WorkerTerms) -> [String] {
        let modes = terms.modes.map { "\($0.0.name) (\(StepCounting($0.1).rawValue))" }.joined(separator: ", ")
        return [
            row("software", terms.software), row("slots", "\(terms.slots)"), row("modes", modes),
            row("jobs at once", "\(terms.jobLimit) on a connection"), row("image", "at most \(size(terms.imageLimit))"),
            row("memory", "\(size(terms.memoryMinimum)) to \(size(terms.memoryMaximum))"),
            row("wall time", "at most \(DurationText.describe(nanoseconds: terms.wallMaximum.wholeNanoseconds))"),
        ]
    }

    private static func size(_ bytes: UInt64) -> String { SizeText.describe(bytes) }

    private static func row(_ name: String, width: Int = 14, _ text: String) -> String {
        "  " + name + String(repeating: " ", count: max(1, width - name.count)) + text
    }
}
