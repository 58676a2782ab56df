// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation

/// A page about a batch in the making: one file that needs nothing else, neither the network nor a server.
///
/// Rows go to the file as they come, so that it takes the same memory for any number of jobs; the page is put in its place when it is
/// finished. Calls block for as long as the disk does.
struct HTMLReport {
    private static let bufferLimit = 256 << 10

    private let path: String
    private let temporaryPath: String
    private let handle: FileHandle
    private let title: String
    private var pending: [UInt8]
    private var outcomes = OutcomeTally()
    private var wallTimes = Distribution()
    private var steps = Distribution()

    /// Begins a page. What is at the path already stays as it is until ``finish()``.
    ///
    /// - Throws: ``CommandFailure``, also where the page could not be put in its place later on: before the jobs run, not after.
    init(path: String, title: String) throws(CommandFailure) {
        (self.path, self.title) = (path, title)
        temporaryPath = "\(path).\(ProcessInfo.processInfo.processIdentifier).part"
        let file = temporaryPath
        handle = try Self.writing(path) {
            let old = try? FileManager.default.attributesOfItem(atPath: path)[.type] as? FileAttributeType
            guard old != .typeDirectory else { throw SystemReason(text: "it is a directory") }
            try Data().write(to: URL(fileURLWithPath: file))
            return try FileHandle(forWritingTo: URL(fileURLWithPath: file))
        }
        pending = Array(ReportPage.beginning(title: title).utf8)
    }

    /// Adds a job by its line of results, with or without the newline.
    ///
    /// - Throws: ``CommandFailure`` when the line is no result, after which the report goes on without it, or when the disk is full.
    mutating func add(line: some DataProtocol) throws(CommandFailure) {
        do {
            try add(JSONDecoder().decode(ResultLine.self, from: Data(line)))
        } catch let failure as CommandFailure {
            throw failure
        } catch let error as DecodingError {
            throw CommandFailure(message: "it is no result: \(error.place)", status: ExitStatus.cannotRun)
        } catch {
            throw CommandFailure(message: "it is no result: \(error)", status: ExitStatus.cannotRun)
        }
    }

    private mutating func add(_ job: ResultLine) throws(CommandFailure) {
        pending += (outcomes.total == 0 ? "" : ",\n").utf8
        pending += HTMLText.escape(json: job.row.bytes)
        outcomes.add(job.group)
        if let nanoseconds = job.wallNanoseconds { wallTimes.add(nanoseconds) }
        if let used = job.steps?.used { steps.add(used) }
        if pending.count >= Self.bufferLimit { try flush() }
    }

    /// Completes the page and puts it in its place.
    mutating func finish() throws(CommandFailure) {
        pending += ReportPage.end(title: title, outcomes: outcomes, wallTimes: wallTimes, steps: steps).utf8
        try flush()
        let (handle, path, temporaryPath) = (handle, path, temporaryPath)
        try Self.writing(path) {
            try handle.close()
            // Foundation moves nothing onto a file that is there, and after its `replaceItemAt` nothing is there on Linux.
            if FileManager.default.fileExists(atPath: path) { try FileManager.default.removeItem(atPath: path) }
            try FileManager.default.moveItem(atPath: temporaryPath, toPath: path)
        }
    }

    /// Removes what was written of a page that will not be finished.
    func discard() {
        // Where that fails there is nothing to remove, or nobody to do it.
        try? handle.close()
        try? FileManager.default.removeItem(atPath: temporaryPath)
    }

    private mutating func flush() throws(CommandFailure) {
        let (handle, bytes) = (handle, Data(pending))
        try Self.writing(path) { try handle.write(contentsOf: bytes) }
        pending.removeAll(keepingCapacity: true)
    }

    private static func writing<T>(_ path: String, _ body: () throws -> T) throws(CommandFailure) -> T {
        do {
            return try body()
        } catch {
            throw CommandFailure(
                message: "cannot write \(path): \((error as? SystemReason ?? SystemReason(error)).text)",
                status: ExitStatus.broken)
        }
    }
}
