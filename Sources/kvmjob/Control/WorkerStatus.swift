// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// What `kvmjob status` tells: all that a worker says of itself, at about the same time.
struct WorkerStatus: Sendable {
    /// Where it is: a path or a URL.
    var place: String
    var worker: WorkerReport
    /// By number.
    var tenants: [TenantReport]
    var counters: CounterReport
    /// What it runs, and how it counts steps.
    var modes: [(mode: GuestMode, counting: StepCounting)] = []

    /// Asks.
    ///
    /// - Throws: what asking throws.
    static func ask(_ client: JobClient, at place: String) async throws -> WorkerStatus {
        WorkerStatus(
            place: place, worker: try await client.workerReport(), tenants: try await client.tenants(),
            counters: try await client.counters(),
            modes: client.terms.modes.map { (mode: $0.0, counting: StepCounting($0.1)) })
    }
}

/// The counters by the names that they have in JSON and in metrics.
extension CounterReport {
    /// One kind's count without a label.
    func value(_ kind: CounterSample.Kind) -> UInt64 { samples.first { $0.kind == kind && $0.label == 0 }?.value ?? 0 }

    /// One kind's counts by the names of their labels, in the order of their numbers.
    func labelled(_ kind: CounterSample.Kind) -> [(name: String, value: UInt64)] {
        samples.filter { $0.kind == kind }.sorted { $0.label < $1.label }.map { ($0.labelName, $0.value) }
    }

    /// What was timed; a histogram of nothing where the worker says nothing.
    func histogram(_ kind: TimeHistogram.Kind) -> TimeHistogram {
        histograms.first { $0.kind == kind } ?? TimeHistogram(kind)
    }
}

extension CounterSample {
    /// What the label stands for; the number of one that a newer worker knows.
    fileprivate var labelName: String {
        let name: String? =
            switch kind {
            case .jobsEnded: UInt8(exactly: label).flatMap(OutcomeNumber.init(rawValue:))?.name
            case .jobsRefused: ErrorCode(rawValue: label)?.name
            case .exits: ExitKind(rawValue: label)?.name
            default: nil
            }
        return name ?? "number-\(label)"
    }
}

extension OutcomeNumber {
    /// The outcome's name, as in ``JobModel/Outcome/name``.
    var name: String {
        switch self {
        case .halted: "halted"
        case .exited: "exited"
        case .faulted: "faulted"
        case .tripleFault: "triple-fault"
        case .unemulatable: "unemulatable"
        case .stepsExhausted: "steps-exhausted"
        case .cpuTimeExhausted: "cpu-time-exhausted"
        case .wallTimeExhausted: "wall-time-exhausted"
        case .exitsExhausted: "exits-exhausted"
        case .outputExhausted: "output-exhausted"
        case .memoryExhausted: "memory-exhausted"
        case .cancelled: "cancelled"
        case .waitExpired: "wait-expired"
        case .hostError: "host-error"
        case .snapshotTaken: "snapshot-taken"
        }
    }
}

extension Confinement {
    /// Its parts by the names that they have in JSON.
    var names: [String] {
        [(Confinement.systemCalls, "system-calls"), (.files, "files")].filter { contains($0.0) }.map(\.1)
    }
}
