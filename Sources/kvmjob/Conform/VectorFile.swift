// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import Foundation

/// A file of vectors: JSON, as it is or packed by gzip.
struct VectorFile: Sendable, Hashable {
    let path: String

    /// Its name without its directory.
    var name: String { URL(fileURLWithPath: path).lastPathComponent }

    /// The most bytes of a file, unpacked: 1 GiB.
    static let byteLimit = 1 << 30

    /// The files that an argument means: itself, or a directory's, in the order of their names.
    ///
    /// - Throws: ``CommandFailure`` for a directory without any.
    static func find(_ argument: String) throws(CommandFailure) -> [VectorFile] {
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: argument) else {
            return [VectorFile(path: argument)]
        }
        let files = names.filter(isVectorFile).sorted().map { VectorFile(path: "\(argument)/\($0)") }
        guard !files.isEmpty else {
            throw CommandFailure(
                message: "there are no vectors in \(argument): they are in files *.json or *.json.gz",
                status: ExitStatus.cannotRun)
        }
        return files
    }

    private static func isVectorFile(_ name: String) -> Bool {
        (name.hasSuffix(".json") || name.hasSuffix(".json.gz")) && !OpcodeMetadata.fileNames.contains(name)
    }

    /// The vectors.
    ///
    /// - Throws: ``CommandFailure``.
    func load() async throws -> [TestVector] {
        let bytes = try await reading { try await Self.read(path) }
        return try await reading { try JSONDecoder().decode([TestVector].self, from: bytes) }
    }

    /// What is said of the opcodes in the file's directory, or nil where nothing is.
    ///
    /// - Throws: ``CommandFailure``.
    func metadata() async throws -> OpcodeMetadata? {
        let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
        for name in OpcodeMetadata.fileNames {
            let place = "\(directory)/\(name)"
            guard FileManager.default.fileExists(atPath: place) else { continue }
            let file = VectorFile(path: place)
            return try await file.reading { try OpcodeMetadata(json: try await Self.read(place)) }
        }
        return nil
    }

    /// Whatever goes wrong is about this file.
    private func reading<T>(_ body: () async throws -> T) async throws(CommandFailure) -> T {
        do {
            return try await body()
        } catch {
            throw CommandFailure(message: "cannot read \(path): \(Self.reason(error))", status: ExitStatus.cannotRun)
        }
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as CommandFailure: error.message
        case let error as SystemReason: error.text
        case DecodingError.dataCorrupted(let context), DecodingError.keyNotFound(_, let context),
            DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
            "at \(context.codingPath.map(\.stringValue).joined(separator: ".")): \(context.debugDescription)"
        default: String(describing: error)
        }
    }

    private static func read(_ path: String) async throws -> Data {
        let bytes: Data
        if path.hasSuffix(".gz") {
            bytes = try await DispatchQueue(label: "kvmjob.gzip").perform { try unpack(path) }
        } else {
            bytes = Data(try await ByteSource(path: path).readAll(limit: byteLimit + 1))
        }
        guard bytes.count <= byteLimit else {
            throw CommandFailure(message: "it has more than 1 GiB", status: ExitStatus.cannotRun)
        }
        return bytes
    }

    /// By gzip itself: one child for a file of thousands of vectors, and no decompressor of our own to look after. Blocks.
    private static func unpack(_ path: String) throws -> Data {
        let (gzip, output) = (Process(), Pipe())
        gzip.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        gzip.arguments = ["gzip", "-dc", "--", path]
        gzip.standardInput = FileHandle.nullDevice
        gzip.standardOutput = output
        gzip.standardError = FileHandle.nullDevice
        try gzip.run()
        var bytes = Data()
        while bytes.count <= byteLimit {
            guard let more = try output.fileHandleForReading.read(upToCount: 1 << 20), !more.isEmpty else { break }
            bytes += more
        }
        if bytes.count > byteLimit { gzip.terminate() }
        gzip.waitUntilExit()
        guard gzip.terminationStatus == 0 || bytes.count > byteLimit else {
            throw CommandFailure(message: "gzip cannot unpack it", status: ExitStatus.cannotRun)
        }
        return bytes
    }
}
