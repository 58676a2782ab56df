// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A structure that a boot protocol lays down byte by byte: little-endian fields at offsets.
struct BootStructure {
    private(set) var bytes: [UInt8]

    /// So many zeros.
    init(count: Int) { bytes = [UInt8](repeating: 0, count: count) }

    /// Writes a field.
    ///
    /// - Precondition: it lies inside.
    mutating func set(_ value: some FixedWidthInteger, at offset: Int) {
        for index in 0..<value.bitWidth / 8 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (index * 8)) }
    }

    /// Copies bytes.
    ///
    /// - Precondition: they lie inside.
    mutating func set(_ slice: ArraySlice<UInt8>, at offset: Int) {
        bytes.replaceSubrange(offset..<offset + slice.count, with: slice)
    }

    /// A text as C has it, for a field that points to one.
    static func text(_ text: [UInt8]) -> ArraySlice<UInt8> { (text + [0])[...] }
}
