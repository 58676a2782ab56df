// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import JobModel

/// A file of results that a batch goes on with: which jobs have theirs, each once, and nothing else in it.
///
/// Lines that are to be superseded, and a last one that a kill has cut, are taken out. That is done in a new file: a process that
/// ends meanwhile leaves the old one, or a complete new one under ``replacementSuffix``, which the next takes over.
struct RecordedResults {
    /// The most bytes of a line: 256 MiB.
    static let lineBytesLimit = 256 << 20
    /// Behind the file's name, while a new one takes its place.
    static let replacementSuffix = ".resumed"
    /// How much is written at once: 1 MiB.
    private static let pieceBytes = 1 << 20

    /// Which of the jobs that have a result need not run again.
    enum Policy: Sendable {
        /// Those whose result would be the same: see ``BatchResult/isFinal``.
        case keepFinal
        /// Those that were a success.
        case keepSuccesses

        func keeps(_ result: BatchResult) -> Bool {
            result.isFinal && (self == .keepFinal || result.isSuccess)
        }
    }

    /// The ids of the jobs that have their results.
    private(set) var ids: Set<String> = []
    /// Lines that were taken out.
    private(set) var dropped = 0

    /// Reads the file, and takes out what has to go. One that is not there is an empty one.
    ///
    /// - Throws: ``CommandFailure``, also for a file with lines that are no results: it is something else.
    init(path: String, policy: Policy) async throws {
        let (part, replacement) = (path + ".part", path + Self.replacementSuffix)
        do {
            try Self.recover(path, replacement)
            guard FileManager.default.fileExists(atPath: path) else { return }
            try await copy(path, to: part, policy)
            guard dropped > 0 else {
                try FileManager.default.removeItem(atPath: part)
                return
            }
            try FileManager.default.moveItem(atPath: part, toPath: replacement)
            try FileManager.default.removeItem(atPath: path)
            try FileManager.default.moveItem(atPath: replacement, toPath: path)
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            let reason = error as? SystemReason ?? SystemReason(error)
            throw CommandFailure.broken("cannot go on with \(path): \(reason.text)")
        }
    }

    /// Finishes, or forgets, what a process began that has ended: Foundation puts no file in another's place in one step.
    private static func recover(_ path: String, _ replacement: String) throws {
        guard FileManager.default.fileExists(atPath: replacement) else { return }
        if FileManager.default.fileExists(atPath: path) {
            try FileManager.default.removeItem(atPath: replacement)
        } else {
            try FileManager.default.moveItem(atPath: replacement, toPath: path)
        }
    }

    private mutating func copy(_ path: String, to part: String, _ policy: Policy) async throws {
        var reader = ManifestReader(try ByteSource(path: path), bytesLimit: Self.lineBytesLimit)
        try Data().write(to: URL(fileURLWithPath: part))
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: part))
        var pending: [UInt8] = []
        while let line = try await reader.next() {
            guard let result = try Self.result(line, path), let id = result.id, policy.keeps(result),
                ids.insert(id).inserted
            else {
                dropped += 1
                continue
            }
            pending += result.bytes
            guard pending.count >= Self.pieceBytes else { continue }
            try handle.write(contentsOf: Data(pending))
            pending = []
        }
        try handle.write(contentsOf: Data(pending))
        try handle.synchronize()
        try handle.close()
    }

    /// Nil for a last line that is cut.
    private static func result(_ line: ManifestReader.RawLine, _ path: String) throws -> BatchResult? {
        guard line.hasEnd else { return nil }
        let message: String
        if let bytes = line.bytes {
            do { return try BatchResult(text: bytes) } catch { message = error.message }
        } else {
            message = "it is longer than \(SizeText.describe(UInt64(lineBytesLimit)))"
        }
        throw CommandFailure(
            message: "\(path):\(line.number): this is no results line: \(message)", status: ExitStatus.cannotRun)
    }
}
