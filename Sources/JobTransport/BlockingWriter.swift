// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CLinux

/// Writes to a descriptor that this process may share with others.
///
/// Those can make it non-blocking for everybody, as ssh does with the standard streams that it inherits; a write that then finds no room
/// waits for some all the same.
public struct BlockingWriter: Sendable {
    private let descriptor: CInt

    /// - Parameter descriptor: stays the caller's, and open as long as this is used.
    public init(_ descriptor: CInt) { self.descriptor = descriptor }

    /// Writes all bytes (`write`, and `poll` where there is no room). Blocks the thread for so long.
    ///
    /// - Returns: 0, or the errno of the call that failed, when some of the bytes may be written.
    public func write(_ bytes: [UInt8]) -> CInt {
        // SAFETY: the bytes are lent for the call, with their count.
        unsafe bytes.withUnsafeBytes { bytes in
            unsafe -clinux_write_all(descriptor, bytes.baseAddress, bytes.count)
        }
    }
}
