// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage

/// An ELF file of this machine as a dynamic linker sees it.
struct LinkedFile: Sendable {
    /// Absolute, by the name that it was found by.
    let path: String
    let file: ELFFile
    let dynamics: ELFDynamics
    /// The file that asked for it first; nil for the program.
    let loader: Int?

    /// The most bytes of a file that is looked at: 1 GiB.
    static let byteLimit: UInt64 = 1 << 30

    /// Reads a file. Blocks.
    ///
    /// - Parameter byteLimit: the most bytes that it may have.
    /// - Throws: ``SystemReason`` if it cannot be read, `ELFError` if it is no ELF file for x86-64.
    init(path: String, loader: Int?, byteLimit: UInt64 = Self.byteLimit) throws {
        let bytes = try HostFile.read(path, limit: byteLimit)
        try self.init(path: path, bytes, loader: loader)
    }

    init(path: String, _ bytes: [UInt8], loader: Int?) throws(ELFError) {
        (self.path, self.loader) = (path, loader)
        file = try ELFFile(bytes)
        dynamics = try ELFDynamics(file, bytes)
    }

    /// The names by which others may ask for it.
    var names: [String] {
        let own = dynamics.soname.map { String(decoding: $0, as: UTF8.self) }
        return [HostFile.names(path).last ?? path] + (own.map { [$0] } ?? [])
    }

    /// The directories of a search path, with what stands for the file's own directory and for the system's put in.
    func directories(_ searchPath: [UInt8]?) -> [String] {
        guard let searchPath else { return [] }
        return String(decoding: searchPath, as: UTF8.self).split(separator: ":").flatMap { expand(String($0)) }
    }

    /// A path with `$ORIGIN`, `$LIB` and `$PLATFORM` put in. What `$LIB` is depends on the linker, so each that is usual is tried.
    func expand(_ path: String) -> [String] {
        let origin = HostFile.parent(loader == nil ? HostFile.followed(self.path)?.path ?? self.path : self.path)
        let fixed = Self.replace("ORIGIN", in: Self.replace("PLATFORM", in: path, by: "x86_64"), by: origin)
        let each = ["lib/x86_64-linux-gnu", "lib64", "lib"].map { Self.replace("LIB", in: fixed, by: $0) }
        return each[0] == fixed ? [fixed] : each
    }

    private static func replace(_ name: String, in path: String, by value: String) -> String {
        path.replacing("${\(name)}", with: value).replacing("$\(name)", with: value)
    }
}
