// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation

/// Jobs in a file, one JSON object a line, or coming in by standard input.
struct Manifest: Sendable {
    /// A path, or "-" for standard input.
    let path: String
    /// The folder that its relative paths are from: its own, or the one that this process is in.
    let folder: String

    init(path: String) {
        self.path = path
        folder = path == "-" ? FileManager.default.currentDirectoryPath : HostFile.parent(HostFile.absolute(path))
    }

    /// For people.
    var name: String { path == "-" ? "standard input" : path }
    /// Whether its lines come one by one, so that they cannot all be looked at beforehand.
    var isStream: Bool { path == "-" }

    /// - Throws: ``CommandFailure``.
    func lines() throws -> ManifestLines { try ManifestLines(self) }
}

/// Reads a manifest's lines.
struct ManifestLines {
    private let manifest: Manifest
    private let draft: ManifestDraft
    private var reader: ManifestReader

    init(_ manifest: Manifest) throws {
        self.manifest = manifest
        draft = try ManifestDraft(folder: manifest.folder)
        do {
            reader = ManifestReader(try ByteSource(path: manifest.path))
        } catch {
            throw Self.unreadable(manifest, error)
        }
    }

    /// The next line that is not blank, or what is wrong with it; nil at the end.
    ///
    /// - Throws: ``CommandFailure``.
    mutating func next() async throws -> Result<ManifestLine, ManifestProblem>? {
        let raw: ManifestReader.RawLine?
        do { raw = try await reader.next() } catch let reason as SystemReason {
            throw Self.unreadable(manifest, reason)
        }
        guard let raw else { return nil }
        guard raw.number <= ManifestReader.lineLimit else {
            throw CommandFailure(
                message: "\(manifest.name) has more than \(ManifestReader.lineLimit) lines: split it",
                status: ExitStatus.cannotRun)
        }
        return parse(raw)
    }

    private func parse(_ raw: ManifestReader.RawLine) -> Result<ManifestLine, ManifestProblem> {
        guard let bytes = raw.bytes else {
            let limit = SizeText.describe(UInt64(ManifestReader.lineBytesLimit))
            return .failure(
                ManifestProblem(
                    file: manifest.name, line: raw.number,
                    message: "the line is longer than \(limit): put its image or input into a file"))
        }
        do throws(FieldProblem) {
            return .success(try ManifestLine(bytes, number: raw.number, draft: draft, folder: manifest.folder))
        } catch {
            return .failure(error.placed(in: manifest.name, line: raw.number, bytes))
        }
    }

    private static func unreadable(_ manifest: Manifest, _ reason: SystemReason) -> CommandFailure {
        CommandFailure(message: "cannot read \(manifest.name): \(reason.text)", status: ExitStatus.cannotRun)
    }
}
