// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Where something is in a guest's tree: bytes, since names are bytes, with one slash between two names and none around them. The
/// root is empty.
struct GuestPath: Sendable, Hashable, Comparable {
    let bytes: [UInt8]

    static let root = GuestPath(names: [])

    /// A path that stays where it begins: `..` at the root is the root, as in a guest. Taken as it is written: what `..` stands
    /// behind is no link.
    init(_ text: String) { self.init(bytes: text.utf8) }

    init(bytes: some Collection<UInt8>) { self.init(names: Self.names(in: bytes)) }

    /// - Parameter names: without slashes; `.` and `..` among them mean what they do in paths.
    init(names: [[UInt8]]) {
        var kept: [[UInt8]] = []
        for name in names where name != Self.here {
            if name == Self.up { kept = kept.dropLast() } else { kept.append(name) }
        }
        bytes = Array(kept.joined(separator: [UInt8(ascii: "/")]))
    }

    private init(checked bytes: [UInt8]) { self.bytes = bytes }

    /// The names between a path's slashes; `.` and `..` are among them.
    static func names(in bytes: some Collection<UInt8>) -> [[UInt8]] {
        bytes.split(separator: UInt8(ascii: "/")).map { Array($0) }
    }

    static let here = Array(".".utf8)
    static let up = Array("..".utf8)

    var names: [[UInt8]] { Self.names(in: bytes) }

    /// The directory that has it; the root's is the root.
    var parent: GuestPath {
        guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return .root }
        return GuestPath(checked: Array(bytes[..<slash]))
    }

    /// - Precondition: a name, not `.` or `..`.
    func appending(_ name: [UInt8]) -> GuestPath {
        GuestPath(checked: bytes.isEmpty ? name : bytes + [UInt8(ascii: "/")] + name)
    }

    /// As a guest writes it.
    var text: String { "/" + String(decoding: bytes, as: UTF8.self) }

    func isInside(_ other: GuestPath) -> Bool {
        other.bytes.isEmpty
            ? !bytes.isEmpty
            : bytes.count > other.bytes.count && bytes[other.bytes.count] == UInt8(ascii: "/")
                && bytes.starts(with: other.bytes)
    }

    /// By bytes: a directory comes before all that it has.
    static func < (left: GuestPath, right: GuestPath) -> Bool { left.bytes.lexicographicallyPrecedes(right.bytes) }
}
