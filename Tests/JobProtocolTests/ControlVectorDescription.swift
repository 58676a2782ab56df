// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

@testable import JobProtocol

/// What the vectors show of QUERY, ANSWER, STOP and STOPPED.
extension Query {
    func describe(in fields: inout VectorFields) {
        fields.small("what", topic.rawValue)
        switch self {
        case .worker, .counters: break
        case .tenants(let after): fields.big("after", after.map { UInt64($0.wire) })
        case .jobs(let after), .detached(let after): fields.big("after", after)
        }
    }
}

extension Answer {
    func describe(in fields: inout VectorFields) {
        switch self {
        case .worker(let report):
            fields.small("what", Topic.worker.rawValue)
            report.describe(in: &fields)
        case .tenants(let reports, let more):
            fields.small("what", Topic.tenants.rawValue)
            fields.flag("more", more)
            fields.put("tenant_list", .array(reports.map(\.vectorJSON)))
        case .jobs(let jobs, let more):
            fields.small("what", Topic.jobs.rawValue)
            fields.flag("more", more)
            fields.put("job_list", .array(jobs.map(\.vectorJSON)))
        case .counters(let report):
            fields.small("what", Topic.counters.rawValue)
            fields.put("samples", .array(report.samples.map(\.vectorJSON)))
            fields.put("histograms", .array(report.histograms.map(\.vectorJSON)))
        case .detached(let jobs, let more):
            fields.small("what", Topic.detached.rawValue)
            fields.flag("more", more)
            fields.put("detached_list", .array(jobs.map(\.vectorJSON)))
        }
    }
}

extension WorkerReport {
    fileprivate func describe(in fields: inout VectorFields) {
        fields.text("software", software)
        fields.text("backend", backend)
        fields.big("uptime_ns", uptimeNanoseconds)
        fields.small("slots", slots)
        fields.small("running", running)
        fields.small("queued", queued)
        fields.small("paused", paused)
        fields.small("connections", connections)
        fields.small("tenants", tenants)
        fields.big("memory_limit", memoryLimit)
        fields.big("memory_bytes", memoryBytes)
        fields.big("finished", finished)
        fields.big("failed", failed)
        fields.flag("draining", isDraining)
        fields.flag("operator", isOperator)
        fields.small("confinement", confinement.rawValue)
    }
}

extension TenantReport {
    fileprivate var vectorJSON: JSON {
        var fields = VectorFields()
        fields.small("user", tenant.wire)
        fields.small("connections", connections)
        fields.small("queued", queued)
        fields.small("running", running)
        fields.small("paused", paused)
        fields.big("memory_bytes", memoryBytes)
        fields.big("bytes_in_flight", bytesInFlight)
        fields.big("kept_bytes", keptBytes)
        fields.big("slot_ns", slotNanoseconds)
        fields.big("finished", finished)
        fields.big("failed", failed)
        fields.big("refused", refused)
        return .object(fields.json)
    }
}

extension ListedJob {
    fileprivate var vectorJSON: JSON {
        var fields = VectorFields()
        fields.big("id", id)
        fields.small("user", tenant.wire)
        fields.small("process", process ?? 0)
        fields.small("state", state.rawValue)
        fields.small("mode", mode.rawValue)
        fields.small("priority", priority)
        fields.big("memory_bytes", memoryBytes)
        fields.big("queue_ns", queueNanoseconds)
        fields.big("run_ns", runNanoseconds ?? .max)
        fields.text("title", title)
        return .object(fields.json)
    }
}

extension CounterSample {
    fileprivate var vectorJSON: JSON {
        var fields = VectorFields()
        fields.small("kind", kind.rawValue)
        fields.small("label", label)
        fields.big("value", value)
        return .object(fields.json)
    }
}

extension TimeHistogram {
    fileprivate var vectorJSON: JSON {
        var fields = VectorFields()
        fields.small("kind", kind.rawValue)
        fields.big("sum", sum)
        fields.put("counts", .array(counts.map { .string(String($0)) }))
        return .object(fields.json)
    }
}

extension StopRequest {
    func describe(in fields: inout VectorFields) {
        switch self {
        case .jobs(let ids): fields.put("jobs", .array(ids.map { .string(String($0)) }))
        case .worker: fields.flag("worker", true)
        case .keeping(let ids): fields.put("forget", .array(ids.map { .string(String($0)) }))
        }
    }
}

extension StopAnswer {
    func describe(in fields: inout VectorFields) {
        switch self {
        case .jobs(let answers): fields.put("jobs", .array(answers.map { .number(UInt64($0.rawValue)) }))
        case .worker(let drains): fields.flag("drains", drains)
        case .keeping(let answers):
            fields.put("forgotten", .array(answers.map { .number(UInt64($0.rawValue)) }))
        }
    }
}

extension DetachedJob {
    fileprivate var vectorJSON: JSON {
        var fields = VectorFields()
        fields.big("id", id)
        fields.small("user", tenant.wire)
        fields.small("state", state.rawValue)
        fields.small("outcome", outcome ?? 0)
        fields.small("run", run)
        fields.big("accepted_at", acceptedAt)
        fields.big("ended_at", endedAt ?? 0)
        fields.big("output_bytes", outputBytes)
        fields.text("label", title)
        fields.text("key", key ?? "")
        return .object(fields.json)
    }
}

extension AttachRequest {
    func describe(in fields: inout VectorFields) {
        fields.big("id", id)
        fields.small("run", run)
        if !offsets.isEmpty {
            let entries = offsets.sorted { $0.key.rawValue < $1.key.rawValue }.map { channel, offset in
                var entry = VectorFields()
                entry.small("channel", channel.rawValue)
                entry.big("offset", offset)
                return JSON.object(entry.json)
            }
            fields.put("offsets", .array(entries))
        }
        if !wantsOutput { fields.flag("output", false) }
        if !follows { fields.flag("follow", false) }
    }
}

extension Attached {
    func describe(in fields: inout VectorFields) {
        fields.small("state", state.rawValue)
        fields.small("run", run)
        fields.text("label", label)
        fields.big("output_bytes", outputBytes)
    }
}
