// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import Foundation

/// One of the process's output streams: whole writes, in order, never on a thread that others wait for.
final class ByteSink: Sendable {
    private let handle: FileHandle
    private let queue: DispatchQueue

    init(_ handle: FileHandle, name: String) {
        self.handle = handle
        queue = DispatchQueue(label: "kvmjob.\(name)")
    }

    /// Returns when the bytes are written. A slow reader makes it wait, and so, in the end, the guest.
    ///
    /// - Throws: ``OutputError``.
    func write(_ bytes: [UInt8]) async throws {
        guard !bytes.isEmpty else { return }
        let handle = handle
        do {
            try await queue.perform { try handle.write(contentsOf: Data(bytes)) }
        } catch {
            throw OutputError(SystemReason(error))
        }
    }
}

/// Why output cannot go on.
enum OutputError: Error, Hashable {
    /// The reader has gone away, as `head` does: no fault of anybody's.
    case closed
    /// A full disk, say.
    case failed(String)

    init(_ reason: SystemReason) {
        self = reason.code == POSIXErrorCode.EPIPE.rawValue ? .closed : .failed(reason.text)
    }
}
