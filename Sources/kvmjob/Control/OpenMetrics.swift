// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A worker's figures as OpenMetrics 1.0 text. It is also what node_exporter's textfile collector reads, which knows an older form of it:
/// no type is used here that was not in that.
///
/// A tenant's label is the user's number, which never changes; tenants come and go, and have gauges only.
struct OpenMetrics {
    let status: WorkerStatus

    var text: String { (worker + tenants + counters + times).map(\.text).joined() + "# EOF\n" }

    private typealias Family = MetricFamily

    // MARK: Gauges

    private var worker: [Family] {
        let worker = status.worker
        let confinement = worker.confinement
        let places: [(String, String)] = [
            ("software", worker.software), ("backend", worker.backend),
            ("system_calls_confined", "\(confinement.contains(.systemCalls))"),
            ("files_confined", "\(confinement.contains(.files))"),
        ]
        return [
            Family.gauge("kvmjob_worker", "What the worker is; always 1.", [.init(places, 1)]),
            Family.gauge(
                "kvmjob_uptime_seconds", "How long the worker has run.", unit: "seconds",
                [.init(.nanoseconds(worker.uptimeNanoseconds))]),
            Family.gauge("kvmjob_slots", "Jobs that can run at once.", [.init(worker.slots)]),
            Family.gauge("kvmjob_running_jobs", "Jobs that run.", [.init(worker.running)]),
            Family.gauge("kvmjob_queued_jobs", "Jobs that wait for a slot.", [.init(worker.queued)]),
            Family.gauge("kvmjob_paused_jobs", "Jobs that are paused.", [.init(worker.paused)]),
            Family.gauge("kvmjob_open_connections", "Open connections.", [.init(worker.connections)]),
            Family.gauge("kvmjob_tenants", "Users who have jobs or connections.", [.init(worker.tenants)]),
            Family.gauge(
                "kvmjob_memory_limit_bytes", "Host memory that running jobs may take together.", unit: "bytes",
                [.init(worker.memoryLimit)]),
            Family.gauge(
                "kvmjob_memory_bytes", "Host memory that admitted jobs may take.", unit: "bytes",
                [.init(worker.memoryBytes)]),
            Family.gauge(
                "kvmjob_draining", "Whether the worker takes no more jobs.", [.init(worker.isDraining ? 1 : 0)]),
        ]
    }

    private var tenants: [Family] {
        let gauge = { (name: String, help: String, unit: String?, value: (TenantReport) -> MetricValue) in
            Family.gauge(
                "kvmjob_tenant_\(name)", help, unit: unit,
                status.tenants.map { .init([("user", $0.tenant.label)], value($0)) })
        }
        return [
            gauge("running_jobs", "A user's jobs that run.", nil) { .whole(UInt64($0.running)) },
            gauge("queued_jobs", "A user's jobs that wait for a slot.", nil) { .whole(UInt64($0.queued)) },
            gauge("paused_jobs", "A user's jobs that are paused.", nil) { .whole(UInt64($0.paused)) },
            gauge("open_connections", "A user's open connections.", nil) { .whole(UInt64($0.connections)) },
            gauge("memory_bytes", "Host memory that a user's admitted jobs may take.", "bytes") {
                .whole($0.memoryBytes)
            },
            gauge("in_flight_bytes", "A user's images on their way, and what waiting jobs keep.", "bytes") {
                .whole($0.bytesInFlight)
            },
            gauge("kept_bytes", "A user's images and starting points that are kept for later jobs.", "bytes") {
                .whole($0.keptBytes)
            },
            gauge("slot_seconds", "Slot time that a user has had since last away.", "seconds") {
                .nanoseconds($0.slotNanoseconds)
            },
        ]
    }

    // MARK: Counters

    private var counters: [Family] {
        let counters = status.counters
        let plain = { (name: String, help: String, kind: CounterSample.Kind) in
            Family.counter("kvmjob_\(name)", help, [.init(counters.value(kind))])
        }
        let labelled = { (name: String, help: String, label: String, kind: CounterSample.Kind) in
            Family.counter(
                "kvmjob_\(name)", help, counters.labelled(kind).map { .init([(label, $0.name)], .whole($0.value)) })
        }
        return [
            plain("jobs_accepted", "Jobs that were accepted.", .jobsAccepted),
            labelled("jobs", "Jobs that ended, by outcome.", "outcome", .jobsEnded),
            labelled("jobs_refused", "Submissions that were refused, by rule.", "rule", .jobsRefused),
            labelled("exits", "Returns from KVM_RUN, by kind.", "kind", .exits),
            plain("steps", "Guest instructions, of jobs whose steps were counted.", .steps),
            Family.counter(
                "kvmjob_output_bytes", "Output of guests.", unit: "bytes", [.init(counters.value(.outputBytes))]),
            Family.counter(
                "kvmjob_cpu_seconds", "Processor time of guests and of the service of their exits.", unit: "seconds",
                [.init(.nanoseconds(counters.value(.processorNanoseconds)))]),
            plain("system_calls", "System calls that were served to programs.", .systemCalls),
            plain("machines_made", "Virtual machines that were made.", .machinesMade),
            plain("machines_reset", "Virtual machines that were brought back for a next job.", .machinesReset),
            plain("images_found", "Images named by digest that the worker had.", .imagesFound),
            plain("images_wanted", "Images named by digest that had to be sent.", .imagesWanted),
            plain("connections", "Connections that were served.", .connectionsServed),
            plain("connections_refused", "Connections that were turned away.", .connectionsRefused),
            plain("snapshot_starts", "Jobs that were started from a snapshot.", .snapshotStarts),
        ]
    }

    private var times: [Family] {
        [
            Family.histogram(
                "kvmjob_queue_time_seconds", "From a job's acceptance to its start.",
                status.counters.histogram(.queueTime)),
            Family.histogram(
                "kvmjob_run_time_seconds", "From a job's start to its end.", status.counters.histogram(.runTime)),
        ]
    }
}

extension Tenant {
    fileprivate var label: String {
        switch self {
        case .user(let number): String(number)
        case .unnamed: "unnamed"
        }
    }
}
