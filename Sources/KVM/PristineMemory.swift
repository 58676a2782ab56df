// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What guest memory holds when a job starts: some bytes here and there, zeros everywhere else.
///
/// Never changes; any number of machines can be filled from it, at the same time.
public final class PristineMemory: Sendable {
    /// Bytes of guest memory.
    public let bytes: UInt64
    private let pieces: [(address: UInt64, bytes: [UInt8])]

    /// - Parameter pieces: bytes at guest physical addresses, inside memory and without overlap.
    public init(bytes: UInt64, pieces: [(address: UInt64, bytes: [UInt8])]) {
        for piece in pieces {
            precondition(piece.address <= bytes && UInt64(piece.bytes.count) <= bytes - piece.address)
        }
        (self.bytes, self.pieces) = (bytes, pieces)
    }

    /// Writes what is not zero to memory that is all zeros.
    public func fill(_ memory: borrowing GuestMemory) {
        precondition(memory.bytes == bytes)
        for piece in pieces { _ = memory.write(piece.bytes, at: piece.address) }
    }
}
