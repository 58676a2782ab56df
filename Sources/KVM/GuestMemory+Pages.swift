// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

extension GuestMemory {
    /// Goes through the pages that are not all zeros, from address 0 up, and copies each out.
    ///
    /// Pages that nobody has touched are passed over without touching them now, where `/proc/self/pagemap` can be read; elsewhere
    /// they are read, and found to be zeros. No vCPU of the machine may be running.
    public func forEachNonZeroPage(_ body: (_ address: UInt64, _ bytes: [UInt8]) -> Void) {
        let map = PageMap()
        let count = bytes / Self.pageBytes
        for first in stride(from: 0, to: count, by: Int(PageMap.windowPages)) {
            let pages = min(PageMap.windowPages, count - first)
            // SAFETY: the pages are inside the mapping.
            let address = unsafe UInt64(UInt(bitPattern: mapping.base)) + first * Self.pageBytes
            let holds = map.pagesHoldingData(from: address, count: Int(pages))
            for page in 0..<pages where holds?[Int(page)] ?? true {
                if let bytes = nonZeroPage(first + page) { body((first + page) * Self.pageBytes, bytes) }
            }
        }
    }

    private func nonZeroPage(_ number: UInt64) -> [UInt8]? {
        // SAFETY: the caller's page is inside the mapping.
        let page = unsafe UnsafeRawBufferPointer(
            start: mapping.base + Int(number * Self.pageBytes), count: Int(Self.pageBytes))
        guard let start = page.baseAddress, unsafe ckvm_is_zero(start, Self.pageBytes) == 0 else { return nil }
        return unsafe [UInt8](page)
    }
}

/// Which pages of this process hold anything: `/proc/self/pagemap`, eight bytes for each page.
private struct PageMap: ~Copyable {
    /// Pages asked about at once: 4096.
    static let windowPages: UInt64 = 4096

    private let descriptor: OwnedDescriptor?

    init() {
        let result = ckvm_open_pagemap()
        descriptor = result >= 0 ? OwnedDescriptor(result) : nil
    }

    private var number: Int32? {
        switch descriptor {
        case .some(let descriptor): descriptor.number
        case .none: nil
        }
    }

    /// For each page from this host address on, whether it is in memory or was written out; nil where that cannot be told.
    func pagesHoldingData(from address: UInt64, count: Int) -> [Bool]? {
        guard let file = number else { return nil }
        var entries = [UInt64](repeating: 0, count: count)
        let offset = address / GuestMemory.pageBytes * 8
        let result = unsafe entries.withUnsafeMutableBytes { raw -> Int64 in
            // SAFETY: the kernel writes at most as many bytes as the buffer has.
            guard let base = raw.baseAddress else { return 0 }
            return unsafe ckvm_read_at(file, base, UInt64(raw.count), offset)
        }
        guard result == Int64(count * 8) else { return nil }
        return entries.map { $0 & CKVM_PAGE_HOLDS_DATA != 0 }
    }
}
