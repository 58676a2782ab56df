// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A worker's status as one JSON object. Every key is always there; keys may be added in later versions, never renamed.
///
/// | key | value |
/// |---|---|
/// | `worker` | `place`, `software`, `backend`, `uptime_ns`, `slots`, `running`, `queued`, `paused`, `connections`, `tenants`, `memory_limit_bytes`, `memory_bytes` (admitted), `finished`, `failed`, `draining`, `operator`, `confinement` (of `system-calls`, `files`), `modes` (each mode's way of counting steps: `none`, `exact`, `bounded`) |
/// | `client` | `software` |
/// | `tenants` | for each: `user`, `user_name`, `connections`, `queued`, `running`, `paused`, `memory_bytes`, `in_flight_bytes`, `kept_bytes`, `slot_ns`, `finished`, `failed`, `refused` |
/// | `counters` | since the worker's start: `jobs_accepted`, `jobs_ended` by outcome, `jobs_refused` by rule, `exits` by kind, `steps`, `output_bytes`, `cpu_ns`, `system_calls`, `machines_made`, `machines_reset`, `images_found`, `images_wanted`, `connections_served`, `connections_refused`, `snapshot_starts`, and the times `queue_time` and `run_time`: `count`, `sum_ns`, `buckets` with `le_ns` (null: no bound) and `count` (cumulative) |
struct StatusJSON {
    let status: WorkerStatus
    let names: TenantNames

    var value: JSONValue {
        .object([
            ("worker", worker), ("client", .object([("software", .string("kvmjob \(KVMJobCommand.version)"))])),
            ("tenants", .array(status.tenants.map(tenant))), ("counters", counters),
        ])
    }

    private var worker: JSONValue {
        let worker = status.worker
        return .object([
            ("place", .string(status.place)), ("software", .string(worker.software)),
            ("backend", .string(worker.backend)), ("uptime_ns", .count(worker.uptimeNanoseconds)),
            ("slots", .count(worker.slots)), ("running", .count(worker.running)), ("queued", .count(worker.queued)),
            ("paused", .count(worker.paused)), ("connections", .count(worker.connections)),
            ("tenants", .count(worker.tenants)), ("memory_limit_bytes", .count(worker.memoryLimit)),
            ("memory_bytes", .count(worker.memoryBytes)), ("finished", .count(worker.finished)),
            ("failed", .count(worker.failed)), ("draining", .bool(worker.isDraining)),
            ("operator", .bool(worker.isOperator)),
            ("confinement", .array(worker.confinement.names.map(JSONValue.string))),
            ("modes", .object(status.modes.map { ($0.mode.name, .string($0.counting.rawValue)) })),
        ])
    }

    private func tenant(_ report: TenantReport) -> JSONValue {
        .object(
            names.members(report.tenant) + [
                ("connections", .count(report.connections)), ("queued", .count(report.queued)),
                ("running", .count(report.running)), ("paused", .count(report.paused)),
                ("memory_bytes", .count(report.memoryBytes)), ("in_flight_bytes", .count(report.bytesInFlight)),
                ("kept_bytes", .count(report.keptBytes)), ("slot_ns", .count(report.slotNanoseconds)),
                ("finished", .count(report.finished)), ("failed", .count(report.failed)),
                ("refused", .count(report.refused)),
            ])
    }

    private var counters: JSONValue {
        let counters = status.counters
        let count = { JSONValue.count(counters.value($0)) }
        let list = { JSONValue.object(counters.labelled($0).map { ($0.name, .count($0.value)) }) }
        return .object([
            ("jobs_accepted", count(.jobsAccepted)), ("jobs_ended", list(.jobsEnded)),
            ("jobs_refused", list(.jobsRefused)), ("exits", list(.exits)), ("steps", count(.steps)),
            ("output_bytes", count(.outputBytes)), ("cpu_ns", count(.processorNanoseconds)),
            ("system_calls", count(.systemCalls)), ("machines_made", count(.machinesMade)),
            ("machines_reset", count(.machinesReset)), ("images_found", count(.imagesFound)),
            ("images_wanted", count(.imagesWanted)), ("connections_served", count(.connectionsServed)),
            ("connections_refused", count(.connectionsRefused)), ("snapshot_starts", count(.snapshotStarts)),
            ("queue_time", Self.times(counters.histogram(.queueTime))),
            ("run_time", Self.times(counters.histogram(.runTime))),
        ])
    }

    private static func times(_ histogram: TimeHistogram) -> JSONValue {
        let buckets = histogram.cumulative.map { bucket in
            JSONValue.object([("le_ns", .count(bucket.bound)), ("count", .count(bucket.count))])
        }
        return .object([
            ("count", .count(histogram.cumulative.last?.count ?? 0)), ("sum_ns", .count(histogram.sum)),
            ("buckets", .array(buckets)),
        ])
    }
}

extension TimeHistogram {
    /// For each bound in nanoseconds, nil for none, how many were not above it.
    var cumulative: [(bound: UInt64?, count: UInt64)] {
        var sum: UInt64 = 0
        return counts.enumerated().map { index, count in
            sum &+= count
            return (index < Self.bounds.count ? Self.bounds[index] : nil, sum)
        }
    }
}
