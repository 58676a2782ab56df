// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import Testing

@testable import kvmjob

/// A directory of this test's own, gone with it.
final class ProgramFolder: Sendable {
    /// Through no link, so that the paths in it are those that files are found by.
    let path: String

    init() throws {
        let url = URL(fileURLWithPath: "/var/tmp/kvmjob-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        path = url.path
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    @discardableResult
    func write(_ name: String, _ text: String, mode: Int = 0o644) throws -> String {
        try write(name, Array(text.utf8), mode: mode)
    }

    @discardableResult
    func write(_ name: String, _ bytes: [UInt8], mode: Int = 0o644) throws -> String {
        let place = "\(path)/\(name)"
        try FileManager.default.createDirectory(
            atPath: HostFile.parent(place), withIntermediateDirectories: true)
        try Data(bytes).write(to: URL(fileURLWithPath: place))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: place)
        return place
    }

    func link(_ name: String, to target: String) throws {
        try FileManager.default.createSymbolicLink(atPath: "\(path)/\(name)", withDestinationPath: target)
    }
}

/// What a tool of this machine prints on standard output.
func output(of tool: String, _ arguments: String..., environment: [String: String]? = nil) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: tool)
    process.arguments = arguments
    if let environment { process.environment = environment }
    let pipe = Pipe()
    (process.standardOutput, process.standardInput) = (pipe, FileHandle.nullDevice)
    try process.run()
    let bytes = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "\(tool) \(arguments)")
    return String(decoding: bytes, as: UTF8.self)
}

/// The failure of something that has to fail.
func failure<T>(_ body: () throws -> T) -> CommandFailure? {
    do {
        _ = try body()
        Issue.record("it went well")
        return nil
    } catch {
        return error as? CommandFailure
    }
}

extension GuestTree {
    /// A layer's archive.
    func archive(_ layer: Layer, limit: UInt64 = 1 << 30) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try writeArchive(of: layer, limit: limit) { bytes += $0 }
        return bytes
    }

    /// The paths of a layer's files and links.
    func paths(_ layer: Layer) -> Set<String> {
        Set(self[layer].filter { if case .directory = $0.value { false } else { true } }.map(\.key.text))
    }
}
