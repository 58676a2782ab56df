// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Takes the memory that a worker sends at a job's end to where it was asked for: windows to show, and the core.
struct MemoryReceiver {
    /// Why there is no core, or no more of one.
    private(set) var coreFailure: String?
    /// Whether any record came.
    private(set) var hasReceived = false
    /// Whether the worker sent what it was not asked for, or what is no record. Nothing after that is believed.
    private(set) var isBroken = false

    private let inspection: Inspection
    private var decoder = RecordDecoder<MemoryRecord>()
    private var windows: [MemoryDump] = []
    private var core: CoreFile?
    private var coreRange: MemoryRange?
    /// The windows that have come whole, the core's being the last.
    private var ended = 0

    private var asked: [MemoryRange] { inspection.dumps + (coreRange.map { [$0] } ?? []) }

    init(_ inspection: Inspection) { self.inspection = inspection }

    /// Opens the core's file, so that a path that cannot be written is told before the guest runs.
    ///
    /// - Throws: ``Rejection``.
    mutating func open(memoryBytes: UInt64) async throws {
        guard let path = inspection.corePath else { return }
        coreRange = MemoryRange(address: 0, count: memoryBytes)
        do {
            core = try await CoreFile.create(path: path, memoryBytes: memoryBytes)
        } catch {
            throw Rejection(code: "core-unwritable", message: "cannot write \(path): \(error.text)")
        }
    }

    /// Takes bytes of ``OutputChannel/memory``; returns when what they complete is on disk.
    mutating func receive(_ bytes: [UInt8]) async {
        guard !isBroken else { return }
        let records = decoder.feed(bytes)
        isBroken = decoder.isBroken
        for record in records where !isBroken { await receive(record) }
    }

    /// Windows come one after the other, in the order in which they were asked for; each ends with a record without bytes.
    private mutating func receive(_ record: MemoryRecord) async {
        guard ended < asked.count, asked[ended].contains(record) else {
            isBroken = true
            return
        }
        hasReceived = true
        guard !record.bytes.isEmpty else {
            isBroken = record.address != asked[ended].end
            ended += isBroken ? 0 : 1
            return
        }
        if windows.isEmpty { windows = inspection.dumps.map(MemoryDump.init) }
        if ended < windows.count { windows[ended].merge(record) } else { await write(record) }
    }

    private mutating func write(_ record: MemoryRecord) async {
        guard let core, coreFailure == nil else { return }
        do throws(SystemReason) {
            try await core.write(record)
        } catch {
            coreFailure = error.text
        }
    }

    /// The windows of a job that ended so, as far as they are known; none of a job that never ran.
    func dumps(of end: JobEnd) -> [MemoryDump] {
        guard case .ended(let result) = end, result.wallNanoseconds > 0 else { return [] }
        return (windows.isEmpty ? inspection.dumps.map(MemoryDump.init) : windows).enumerated().map { index, window in
            var window = window
            window.isComplete = index < ended
            return window
        }
    }

    /// Why the core of a job that ended so cannot be complete.
    private func obstacle(to end: JobEnd) -> String? {
        if let coreFailure { return coreFailure }
        guard !isBroken else { return "the worker sent memory that it was not asked for" }
        guard case .ended(let result) = end, hasReceived || result.registers != nil else {
            return "the job has left no memory and no registers"
        }
        return ended == asked.count ? nil : "the worker has not sent all of guest memory"
    }

    /// Completes the core of a job and puts it in its place.
    ///
    /// - Returns: why there is none, or nil where there is one or nobody asked.
    mutating func finishCore(of report: JobReport) async -> String? {
        guard let core else { return nil }
        self.core = nil
        let obstacle = obstacle(to: report.end)
        guard obstacle == nil, case .ended(let result) = report.end else {
            await core.discard()
            return obstacle
        }
        do throws(SystemReason) {
            try await core.finish(CoreHead(name: report.name, result: result, size: report.codeSize))
            return nil
        } catch {
            return error.text
        }
    }
}
