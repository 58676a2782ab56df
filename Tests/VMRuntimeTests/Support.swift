// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import GuestImage
import JobModel
import KVM
import Testing

@testable import VMRuntime

/// Whether this machine can run guests. A suite that needs them is skipped loudly where it cannot.
enum Hardware {
    static let backend: Result<Backend, KVMError> = Result { () throws(KVMError) in try Backend() }

    static var isThere: Bool {
        switch backend {
        case .success: true
        case .failure: false
        }
    }
}

extension Machine {
    /// A machine that is ready for a job.
    convenience init(
        readyFor layout: GuestLayout, on backend: Backend, countsEmulation: Bool = true, logsWrites: Bool = false
    ) throws(KVMError) {
        let kind = MachineKind(
            memoryBytes: layout.memoryBytes, countsEmulation: countsEmulation, logsWrites: logsWrites)
        try self.init(kind, on: backend.hypervisor)
        try prepare(StartingPoint(layout))
    }
}

/// A guest's whole run, seen from the slot.
struct Run {
    var events: [JobEvent] = []

    var result: JobResult {
        get throws {
            guard case .finished(let result)? = events.last else { throw Missing.result }
            return result
        }
    }

    var console: [UInt8] {
        events.flatMap { event -> [UInt8] in
            guard case .output(.console, let bytes) = event else { return [] }
            return bytes
        }
    }

    var text: String { String(decoding: console, as: UTF8.self) }

    enum Missing: Error { case result }
}

extension Run {
    /// Runs an image on a slot of its own and waits for its end.
    static func of(
        _ image: [UInt8], _ spec: JobSpec, input: [UInt8] = [], credit: Int = 1 << 30,
        control: JobControl = JobControl(hasInput: true), slot: Slot? = nil, tenant: UInt32? = nil,
        reusesMachine: Bool = false
    ) async throws -> Run {
        let job = try AdmittedJob(
            image: image, spec: spec, on: Hardware.backend.get().profile, reusesMachine: reusesMachine)
        return try await of(job, input: input, credit: credit, control: control, slot: slot, tenant: tenant)
    }

    /// Runs a job on a slot of its own and waits for its end.
    static func of(
        _ job: AdmittedJob, input: [UInt8] = [], credit: Int = 1 << 30,
        control: JobControl = JobControl(hasInput: true), slot: Slot? = nil, tenant: UInt32? = nil
    ) async throws -> Run {
        control.appendInput(input, end: true)
        control.grantOutput(credit)
        let own = slot == nil ? Slot(number: 0, backend: try Hardware.backend.get()) : nil
        defer { own?.stop() }
        guard let place = slot ?? own else { return Run() }
        let stream = AsyncStream<JobEvent> { continuation in
            place.start(job, for: tenant, control: control) { event in
                continuation.yield(event)
                if case .finished = event { continuation.finish() }
            }
        }
        var run = Run()
        for await event in stream { run.events.append(event) }
        return run
    }
}

/// Bytes from hexadecimal text, spaces allowed.
func hex(_ text: String) -> [UInt8] {
    let digits = Array(text.filter { !$0.isWhitespace })
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(String(digits[$0...($0 + 1)]), radix: 16) ?? 0 }
}
