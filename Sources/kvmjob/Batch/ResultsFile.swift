// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import Foundation
internal import Glibc

/// Where a batch's results go.
struct ResultsFile {
    let sink: ByteSink
    private let handle: FileHandle?
    /// The ids of jobs whose results are there.
    private(set) var done: Set<String> = []

    /// What is done about results that are there already.
    enum Earlier: Sendable, Equatable {
        /// A file that has any is left alone.
        case refuse
        /// They are dropped.
        case overwrite
        /// The batch goes on with them.
        case resume(RecordedResults.Policy)
    }

    /// Standard output.
    init(_ console: Console) { (sink, handle) = (console.output, nil) }

    /// Opens a file, and holds it against other batches as long as this process lives (`flock`).
    ///
    /// - Throws: ``CommandFailure``.
    init(path: String, _ earlier: Earlier) async throws {
        if case .resume(let policy) = earlier {
            let held = FileManager.default.fileExists(atPath: path) ? try Self.open(path) : nil
            done = try await RecordedResults(path: path, policy: policy).ids
            try held?.close()
        }
        let handle = try Self.open(path)
        do {
            let length = try handle.seekToEnd()
            if earlier == .overwrite { try handle.truncate(atOffset: 0) }
            guard earlier != .refuse || length == 0 else {
                throw CommandFailure(
                    message: "\(path) is not empty: --resume goes on with it, --force begins anew",
                    status: ExitStatus.usage)
            }
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            throw CommandFailure.broken("cannot write \(path): \(SystemReason(error).text)")
        }
        (sink, self.handle) = (ByteSink(handle, name: "results"), handle)
    }

    /// Whether what is written can be brought to a disk.
    var canSynchronize: Bool { handle != nil }

    /// Returns when all that was written is on the disk (`fsync`).
    ///
    /// - Throws: ``OutputError``.
    func synchronize() async throws {
        guard let handle else { return }
        do {
            try await DispatchQueue(label: "kvmjob.synchronize").perform { try handle.synchronize() }
        } catch {
            throw OutputError(SystemReason(error))
        }
    }

    private static func open(_ path: String) throws(CommandFailure) -> FileHandle {
        let handle: FileHandle
        do {
            if !FileManager.default.fileExists(atPath: path) { try Data().write(to: URL(fileURLWithPath: path)) }
            handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        } catch {
            throw .broken("cannot write \(path): \(SystemReason(error).text)")
        }
        guard flock(handle.fileDescriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw .broken("another batch writes \(path)")
        }
        return handle
    }
}
