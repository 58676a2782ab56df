// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension GuestMemory {
    /// Bytes of the pages that are not all zeros: what a ``PristineMemory`` of this memory holds. No vCPU of the machine may be
    /// running.
    public var occupiedBytes: UInt64 {
        var pages = OccupiedPages()
        var (count, address) = (UInt64(0), UInt64(0))
        while let page = pages.next(from: address, below: bytes, in: self) {
            count += 1
            address = page + Self.pageBytes
        }
        return count * Self.pageBytes
    }
}
