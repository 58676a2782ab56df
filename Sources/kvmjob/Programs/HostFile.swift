// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation

/// An entry of a directory of this machine, as it says itself: a link is a link.
struct HostFile: Sendable, Hashable {
    enum Kind: Sendable, Hashable {
        case regular, directory
        case link(target: String)
        /// A device, a socket or a pipe.
        case special(String)
    }

    /// Absolute.
    let path: String
    let kind: Kind
    /// The permission bits, with set-user-ID, set-group-ID and the sticky bit.
    let mode: UInt16
    let size: UInt64
    /// When its content was last changed, in seconds since 1970.
    let modified: UInt64

    /// The most links that are followed on the way to a file: 40, as on Linux.
    static let linkLimit = 40

    /// The entry at a path, whose last name is not followed; nil if there is none that can be seen. Blocks (`lstat`).
    init?(at path: String) {
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: path),
            let type = attributes[.type] as? FileAttributeType
        else { return nil }
        switch type {
        case .typeRegular: kind = .regular
        case .typeDirectory: kind = .directory
        case .typeSymbolicLink:
            guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: path) else { return nil }
            kind = .link(target: target)
        case .typeSocket: kind = .special("a socket")
        case .typeBlockSpecial, .typeCharacterSpecial: kind = .special("a device")
        default: kind = .special("a pipe")
        }
        self.path = path
        mode = UInt16(truncatingIfNeeded: (attributes[.posixPermissions] as? NSNumber)?.intValue ?? 0) & 0o7777
        size = (attributes[.size] as? NSNumber)?.uint64Value ?? 0
        modified = UInt64(clamping: Int((attributes[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0))
    }

    /// What a path leads to through all links, under its real path; nil if that is nothing. Blocks.
    static func followed(_ path: String) -> HostFile? {
        var (pending, here, links) = (names(absolute(path)), "", 0)
        pending.reverse()
        while let name = pending.popLast() {
            if name == ".." {
                here = parent(here)
                continue
            }
            guard let file = HostFile(at: "\(here)/\(name)") else { return nil }
            guard case .link(let target) = file.kind else {
                here = file.path
                continue
            }
            links += 1
            guard links <= linkLimit else { return nil }
            if target.hasPrefix("/") { here = "" }
            pending += names(target).reversed()
        }
        return HostFile(at: here.isEmpty ? "/" : here)
    }

    /// A path from the root; one that is relative is from this directory, or from the one that this process is in.
    static func absolute(_ path: String, from directory: String? = nil) -> String {
        path.hasPrefix("/") ? path : (directory ?? FileManager.default.currentDirectoryPath) + "/" + path
    }

    /// The names between slashes, without `.`.
    static func names(_ path: String) -> [String] {
        path.utf8.split(separator: UInt8(ascii: "/")).map { String(decoding: $0, as: UTF8.self) }.filter { $0 != "." }
    }

    /// The path without its last name.
    static func parent(_ path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "" }
        return String(path[..<slash])
    }

    /// All bytes of the regular file that a path leads to. Blocks; nothing else than a regular file is opened, since a pipe would
    /// block for good.
    static func read(_ path: String, limit: UInt64) throws(SystemReason) -> [UInt8] {
        guard let file = followed(path) else { throw SystemReason(text: "there is no such file") }
        guard file.kind == .regular else { throw SystemReason(text: "it is no regular file") }
        do {
            let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: file.path))
            let bytes = [UInt8](try handle.read(upToCount: Int(min(limit, 1 << 40)) + 1) ?? Data())
            guard bytes.count <= limit else {
                throw SystemReason(text: SizeText.excess(max(file.size, UInt64(bytes.count)), limit: limit))
            }
            return bytes
        } catch let reason as SystemReason {
            throw reason
        } catch {
            throw SystemReason(error)
        }
    }

    /// The names in a directory, in no order. Blocks.
    static func list(_ path: String) throws(SystemReason) -> [String] {
        do { return try FileManager.default.contentsOfDirectory(atPath: path) } catch { throw SystemReason(error) }
    }
}
