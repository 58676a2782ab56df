// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Windows of guest memory on the command line: `0x7c00:512`, `0:64KiB`.
enum MemoryRangeText {
    /// The range that an address and a length with a colon between them write.
    static func parse(_ text: String) throws(ValueError) -> MemoryRange {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2 else {
            throw ValueError("\"\(text)\" is no window of memory: write ADDR:LEN, as in 0x7c00:512 or 0:64KiB")
        }
        let range = MemoryRange(
            address: try WholeNumber.parse(String(parts[0])), count: try SizeText.parse(String(parts[1])))
        guard range.count > 0 else { throw ValueError("\(text) has no bytes: write a length of 1 or more") }
        guard range.end != nil else { throw ValueError("\(text) goes beyond 64-bit addresses") }
        return range
    }
}
