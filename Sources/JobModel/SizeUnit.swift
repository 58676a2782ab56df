// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A unit in which people write sizes: `64KiB`, `16MiB`, `1GiB`.
public struct SizeUnit: Sendable, Hashable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public let name: String, bytes: UInt64

    /// From the largest to the smallest.
    public static let all = [
        SizeUnit(name: "GiB", bytes: 1 << 30), SizeUnit(name: "MiB", bytes: 1 << 20),
        SizeUnit(name: "KiB", bytes: 1 << 10),
    ]

    /// The unit of this name, or nil.
    public static func named(_ name: some StringProtocol) -> SizeUnit? { all.first { $0.name == name } }

    /// The largest unit that so many bytes are a multiple of; nil for none, and for no bytes.
    public static func dividing(_ bytes: UInt64) -> SizeUnit? {
        bytes == 0 ? nil : all.first { bytes.isMultiple(of: $0.bytes) }
    }
}
