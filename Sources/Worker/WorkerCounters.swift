// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import VMRuntime

/// What a worker counts, for its metrics. A plain value: adding to it allocates nothing once each sort has come up.
struct WorkerCounters {
    var jobsAccepted: UInt64 = 0
    var snapshotStarts: UInt64 = 0
    var imagesFound: UInt64 = 0, imagesWanted: UInt64 = 0
    var connectionsServed: UInt64 = 0, connectionsRefused: UInt64 = 0
    private var ended: [OutcomeNumber: UInt64] = [:]
    private var refused: [ErrorCode: UInt64] = [:]
    private var exits = ExitCounts()
    private var steps: UInt64 = 0, outputBytes: UInt64 = 0, processorNanoseconds: UInt64 = 0, systemCalls: UInt64 = 0
    private var queueTime = TimeHistogram(.queueTime), runTime = TimeHistogram(.runTime)

    mutating func noteRefusal(_ code: ErrorCode) { refused[code, default: 0] += 1 }

    mutating func noteEnd(_ result: JobResult, hasStarted: Bool) {
        ended[OutcomeNumber(result.outcome), default: 0] += 1
        exits.io &+= result.exits.io
        exits.mmio &+= result.exits.mmio
        exits.debug &+= result.exits.debug
        exits.interrupted &+= result.exits.interrupted
        exits.other &+= result.exits.other
        steps &+= result.steps ?? 0
        outputBytes &+= result.outputBytes
        processorNanoseconds &+= result.cpuNanoseconds
        systemCalls &+= result.program?.systemCalls ?? 0
        queueTime.add(result.queueNanoseconds)
        if hasStarted { runTime.add(result.wallNanoseconds) }
    }

    func report(_ machines: MachineCounts) -> CounterReport {
        var report = CounterReport()
        report.samples = [
            .init(.jobsAccepted, jobsAccepted), .init(.steps, steps), .init(.outputBytes, outputBytes),
            .init(.processorNanoseconds, processorNanoseconds), .init(.systemCalls, systemCalls),
            .init(.machinesMade, machines.made), .init(.machinesReset, machines.reset),
            .init(.imagesFound, imagesFound), .init(.imagesWanted, imagesWanted),
            .init(.connectionsServed, connectionsServed), .init(.connectionsRefused, connectionsRefused),
            .init(.snapshotStarts, snapshotStarts),
        ]
        // Every outcome is there from the start, so that a rate of one that never came is zero and not nothing.
        report.samples += OutcomeNumber.allCases.map {
            .init(.jobsEnded, label: UInt16($0.rawValue), ended[$0, default: 0])
        }
        report.samples += refused.sorted { $0.key.rawValue < $1.key.rawValue }.map {
            .init(.jobsRefused, label: $0.key.rawValue, $0.value)
        }
        report.samples += CounterSample.ExitKind.allCases.map { .init(.exits, label: $0.rawValue, exits[$0]) }
        report.samples.sort { ($0.kind.rawValue, $0.label) < ($1.kind.rawValue, $1.label) }
        report.histograms = [queueTime, runTime]
        return report
    }
}

extension ExitCounts {
    fileprivate subscript(kind: CounterSample.ExitKind) -> UInt64 {
        switch kind {
        case .io: io
        case .mmio: mmio
        case .debug: debug
        case .interrupted: interrupted
        case .other: other
        }
    }
}
