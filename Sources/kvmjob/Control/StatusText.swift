// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A worker's status for people, in 80 columns.
struct StatusText {
    let status: WorkerStatus
    let names: TenantNames

    var lines: [String] {
        [heading] + AlignedColumns(rows: rows).lines + [""] + TenantTable(tenants: status.tenants, names: names).lines
    }

    private var worker: WorkerReport { status.worker }

    private var heading: String {
        let age = DurationText.long(nanoseconds: worker.uptimeNanoseconds)
        return "\(ShortText.plain(worker.software)) at \(ShortText.plain(status.place)), up \(age)"
            + (worker.isDraining ? ", draining: it takes no more jobs" : "")
    }

    private var rows: [[String]] {
        [
            ["backend", ShortText.plain(worker.backend)], ["modes", modes], ["confined", confinement],
            ["slots", "\(worker.running) of \(worker.slots) in use"],
            ["waiting", Self.count(worker.queued, "job") + (worker.paused == 0 ? "" : ", \(worker.paused) paused")],
            [
                "memory",
                "\(SizeText.approximate(worker.memoryBytes)) of \(SizeText.approximate(worker.memoryLimit)) admitted",
            ],
            ["ended", ended], ["started", started], ["users", users], ["you", you],
            ["client", "kvmjob \(KVMJobCommand.version)"],
        ].filter { $0[1] != "" }
    }

    private var modes: String {
        [StepCounting.exact, .bounded, .none].compactMap { counting in
            let names = status.modes.filter { $0.counting == counting }.map(\.mode.name).joined(separator: ", ")
            return names.isEmpty ? nil : names + (counting == .none ? "" : " (steps \(counting.rawValue))")
        }.joined(separator: "; ")
    }

    private var confinement: String {
        let parts = [(Confinement.systemCalls, "system calls"), (.files, "files")].filter {
            worker.confinement.contains($0.0)
        }
        return parts.isEmpty ? "not at all" : "in " + parts.map(\.1).joined(separator: " and ")
    }

    private var ended: String {
        let outcomes = status.counters.labelled(.jobsEnded).filter { $0.value > 0 }.sorted { $0.value > $1.value }
        let most = outcomes.prefix(Self.outcomesShown).map { "\($0.name) \(ShortText.count($0.value))" }
        return "\(Self.count(worker.finished, "job"))"
            + (most.isEmpty ? "" : ": \(most.joined(separator: ", "))\(outcomes.count > most.count ? ", ..." : "")")
            + "; \(ShortText.count(worker.failed)) failed"
    }

    /// As many as fit beside the counts.
    private static let outcomesShown = 2

    /// How the time went by for most jobs.
    private var started: String {
        let (wait, run) = (status.counters.histogram(.queueTime), status.counters.histogram(.runTime))
        return [("waited", wait), ("ran", run)].compactMap { verb, histogram in
            histogram.mean.map { "\(verb) \(DurationText.short(nanoseconds: $0))" }
        }.joined(separator: ", ") + (wait.mean ?? run.mean == nil ? "" : " on average")
    }

    private var users: String {
        "\(Self.count(worker.tenants, "user")), \(Self.count(worker.connections, "connection"))"
    }

    private var you: String {
        worker.isOperator ? "an operator: you see and may stop everything" : "you see and may stop what is yours"
    }

    private static func count(_ number: some BinaryInteger, _ noun: String) -> String {
        "\(ShortText.count(UInt64(number))) \(noun)\(number == 1 ? "" : "s")"
    }
}

extension TimeHistogram {
    /// Nanoseconds, or nil of nothing.
    var mean: UInt64? {
        let count = counts.reduce(0, &+)
        return count == 0 ? nil : sum / count
    }
}

/// Who has something in a worker, a line for each, in 80 columns.
struct TenantTable {
    let tenants: [TenantReport]
    let names: TenantNames

    static let heading = ["USER", "WAIT", "RUN", "MEMORY", "KEPT", "SLOT TIME", "ENDED", "FAILED", "REFUSED"]
    /// As many characters of a user's name as there is room for.
    static let nameWidth = 10

    var lines: [String] {
        AlignedColumns(rows: [Self.heading] + tenants.map(row), right: Set(1..<Self.heading.count)).lines
    }

    private func row(_ report: TenantReport) -> [String] {
        [
            ShortText.name(names.text(report.tenant), width: Self.nameWidth),
            ShortText.count(UInt64(report.queued)), ShortText.count(UInt64(report.running)),
            Self.size(report.memoryBytes), Self.size(report.keptBytes),
            DurationText.short(nanoseconds: report.slotNanoseconds), ShortText.count(report.finished),
            ShortText.count(report.failed), ShortText.count(report.refused),
        ]
    }

    private static func size(_ bytes: UInt64) -> String { bytes == 0 ? "0" : SizeText.approximate(bytes) }
}
