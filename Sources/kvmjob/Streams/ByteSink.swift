// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import Foundation
internal import JobTransport
internal import NIOConcurrencyHelpers

/// One of the process's output streams: whole writes, in order, never on a thread that others wait for.
final class ByteSink: Sendable {
    private let handle: FileHandle
    private let queue: DispatchQueue
    private let failure = NIOLockedValueBox<OutputError?>(nil)
    private let lineStart = NIOLockedValueBox(true)
    /// Whether the last byte written was a newline, or nothing was written.
    var isAtLineStart: Bool { lineStart.withLockedValue(\.self) }

    init(_ handle: FileHandle, name: String) {
        self.handle = handle
        queue = DispatchQueue(label: "kvmjob.\(name)")
    }

    /// Returns when the bytes are written. A slow reader makes it wait, and so, in the end, the guest.
    ///
    /// - Throws: ``OutputError``; once it has failed, always, even for no bytes.
    func write(_ bytes: [UInt8]) async throws {
        if let failure = failure.withLockedValue(\.self) { throw failure }
        guard !bytes.isEmpty else { return }
        let handle = handle
        let errno = try await queue.perform { BlockingWriter(handle.fileDescriptor).write(bytes) }
        lineStart.withLockedValue { $0 = bytes.last == UInt8(ascii: "\n") }
        guard errno != 0 else { return }
        let error = OutputError(SystemReason(errno: errno))
        failure.withLockedValue { $0 = error }
        throw error
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
