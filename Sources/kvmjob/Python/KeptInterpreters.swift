// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import JobModel

/// Which interpreter is meant, by what tells it from another one without asking it.
struct InterpreterPlace: Sendable, Hashable {
    /// Its path, or that of what starts it.
    let path: String
    /// What decides about an interpreter that is kept: one line of text.
    let key: String

    /// Looks for an interpreter. Blocks.
    ///
    /// - Throws: ``CommandFailure`` if there is none.
    init(_ name: String, limits: ProgramLimits) throws(CommandFailure) {
        let directories = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
        let candidates = name.contains("/") ? [HostFile.absolute(name)] : directories.map { "\($0)/\(name)" }
        guard let path = candidates.first(where: { HostFile.followed($0)?.kind == .regular }),
            let file = HostFile.followed(path)
        else { throw CommandFailure(message: "there is no interpreter \(name)", status: ExitStatus.notFound) }
        self.path = path
        let parts: [String] = [
            "\(path) \(file.path) \(file.size) \(file.modified)", "\(limits.memory) \(limits.scratch)",
            "\(limits.clock.name) \(limits.seed.map(String.init) ?? "-")", KVMJobCommand.version,
        ]
        key = parts.joined(separator: "; ")
    }
}

/// The names of interpreters that a service has kept, as this user has noted them, so that nobody has to read a library to find out
/// that it is there already: `$XDG_CACHE_HOME/kvmjob/python.json`. What is wrong in it, or missing, costs a start.
struct KeptInterpreters {
    private let file: URL
    private let service: String

    /// nil for a worker of this process, which keeps nothing for another one.
    init?(_ choice: WorkerChoice) {
        guard let place = choice.place else { return nil }
        service = place
        let environment = ProcessInfo.processInfo.environment
        let base =
            environment["XDG_CACHE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
            ?? environment["HOME"].map { "\($0)/.cache" }
        guard let base else { return nil }
        file = URL(fileURLWithPath: base).appendingPathComponent("kvmjob/python.json")
    }

    /// The name of one that was kept.
    func name(of place: InterpreterPlace) -> ContentDigest? {
        entries[key(of: place)].flatMap { try? SnapshotNameText.parse($0) }
    }

    /// Notes that one is kept. That this may fail takes nothing but time.
    func note(_ name: ContentDigest, of place: InterpreterPlace) {
        var entries = self.entries
        if entries.count >= Self.entryLimit { entries = [:] }
        entries[key(of: place)] = HexText.describe(digest: name.bytes)
        guard let data = try? JSONEncoder().encode(entries) else { return }
        let folder = file.deletingLastPathComponent()
        try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try? data.write(to: file, options: .atomic)
    }

    /// The most that are noted: 256.
    private static let entryLimit = 256

    private var entries: [String: String] {
        guard let data = try? Data(contentsOf: file) else { return [:] }
        return (try? JSONDecoder().decode([String: String].self, from: data)) ?? [:]
    }

    private func key(of place: InterpreterPlace) -> String { "\(service); \(place.key)" }
}
