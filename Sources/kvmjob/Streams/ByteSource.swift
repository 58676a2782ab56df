// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import Foundation

/// A file or standard input, read piece by piece when somebody asks for more.
final class ByteSource: Sendable {
    /// The most bytes of a piece: 64 KiB, which is a worker's usual first credit for input.
    static let pieceLimit = 65_536

    private let handle: FileHandle
    private let queue = DispatchQueue(label: "kvmjob.input")
    /// What can be positioned is read without waiting; of a pipe or a terminal, no more than is there.
    let isSeekable: Bool

    /// Opens a file; "-" is standard input.
    init(path: String) throws(SystemReason) {
        do {
            handle = path == "-" ? .standardInput : try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
        } catch {
            throw SystemReason(error)
        }
        isSeekable = (try? handle.offset()) != nil
    }

    /// A pipe or a socket, which is closed when nobody reads it any more.
    init(descriptor: CInt) {
        handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        isSeekable = false
    }

    /// The next piece, as soon as there is one; nil at the end.
    ///
    /// - Throws: ``SystemReason``.
    func next() async throws -> [UInt8]? {
        let count = isSeekable ? Self.pieceLimit : min(max(1, await readableBytes()), Self.pieceLimit)
        return try await read(count)
    }

    /// Everything up to the end or up to this many bytes, whichever comes first.
    ///
    /// - Throws: ``SystemReason``.
    func readAll(limit: Int) async throws -> [UInt8] { try await read(limit) ?? [] }

    private func read(_ count: Int) async throws -> [UInt8]? {
        let handle = handle
        do {
            return try await queue.perform { try handle.read(upToCount: count).map { Array($0) } }
        } catch {
            throw SystemReason(error)
        }
    }

    /// Waits until a read would not block, and tells how much is there; 0 at the end.
    private func readableBytes() async -> Int {
        await withCheckedContinuation { continuation in
            let source = DispatchSource.makeReadSource(fileDescriptor: handle.fileDescriptor, queue: queue)
            source.setEventHandler {
                let count = Int(source.data)
                source.cancel()
                continuation.resume(returning: count)
            }
            source.resume()
        }
    }
}
