// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import Foundation
internal import Glibc
internal import JobModel
internal import JobProtocol

/// A batch in a folder, for workers on many machines: all that they need, and where they put what comes of it.
///
/// | name | content |
/// |---|---|
/// | `spool.json` | ``Spool/Head``; written last, so that what has none is no spool yet |
/// | `chunks/N.jsonl` | the jobs of chunk N, from 0: a ``SpoolJob`` a line |
/// | `objects/DIGEST` | an image, an archive of a program's files, or an input, by the SHA-256 of its bytes |
/// | `results/JOB_ID` | a job's line of the results file |
/// | `new/` | files that are being written; what a killed process leaves there is of no use to anybody |
/// | `logs/` | what the workers said |
///
/// Nothing in it is ever changed, and removed only a result that `--resume` is to have again. A file is written under a name of its own in `new/`, brought to the disk, and then linked to its name
/// (`link(2)`), which is atomic on NFS too: a file is there whole or not at all, and of two results of one job the first stays. So any
/// number of workers may run one chunk at once, be killed at any instant, and run it again: a job has one result.
///
/// What is read is checked, whoever may have written it; errors name the file. All calls block.
struct Spool: Sendable, Hashable {
    /// Absolute, so that it means the same everywhere.
    let folder: String

    /// What a spool says of itself.
    struct Head: Codable, Sendable, Hashable {
        /// The layout's version: ``Spool/format``.
        var format: Int
        /// Tells this spool from every other: 32 hexadecimal digits.
        var id: String
        var jobs: Int
        var chunks: Int
        /// How often a job is run again after a host error.
        var retries: Int
    }

    /// The version of the layout.
    static let format = 1
    /// The most jobs of a chunk or a batch in a spool: one million.
    static let jobLimit = 1_000_000
    /// The most bytes of a file of lines that is read: 1 GiB.
    static let listLimit: UInt64 = 1 << 30
    /// The most bytes of a worker's log that are read: 16 MiB.
    static let logLimit: UInt64 = 16 << 20
    /// Where calls may block.
    static let queue = DispatchQueue(label: "kvmjob.spool")
    /// The most bytes of a result: 256 MiB; output of 64 MiB takes 86.
    static let resultLimit: UInt64 = 256 << 20

    init(folder: String) { self.folder = HostFile.absolute(folder) }

    // MARK: Names

    func path(_ name: String) -> String { "\(folder)/\(name)" }
    func chunkPath(_ chunk: Int) -> String { path("chunks/\(chunk).jsonl") }
    func resultPath(_ id: String) -> String { path("results/\(id)") }
    func objectPath(_ digest: String) -> String { path("objects/\(digest)") }
    private var headPath: String { path("spool.json") }

    var exists: Bool { FileManager.default.fileExists(atPath: headPath) }

    // MARK: Making one

    /// Makes the folders, where they are not there.
    ///
    /// - Throws: ``CommandFailure``.
    func makeFolders() throws(CommandFailure) {
        for name in ["chunks", "objects", "results", "new", "logs"] {
            do {
                try FileManager.default.createDirectory(atPath: path(name), withIntermediateDirectories: true)
            } catch {
                throw Self.failure(path(name), "cannot be made: \(SystemReason(error).text)")
            }
        }
    }

    /// Writes the chunks and then the head: from here on it is a spool.
    ///
    /// - Throws: ``CommandFailure``; also where there is one already.
    func make(_ chunks: [[SpoolJob]], retries: Int) throws(CommandFailure) -> Head {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        func json(_ value: some Encodable) throws(CommandFailure) -> [UInt8] {
            do { return Array(try encoder.encode(value)) + [UInt8(ascii: "\n")] } catch {
                throw Self.failure(folder, "cannot be written: \(error)")
            }
        }
        for (chunk, jobs) in chunks.enumerated() {
            var lines: [UInt8] = []
            for job in jobs { lines += try json(job) }
            guard try link(lines, to: chunkPath(chunk)) else {
                throw Self.failure(
                    chunkPath(chunk), "is of a spool that was never finished: remove the folder \(folder)")
            }
        }
        let id = (0..<16).map { _ in HexText.padded(UInt8.random(in: .min ... .max), digits: 2) }.joined()
        let jobs = chunks.reduce(0) { $0 + $1.count }
        let head = Head(format: Self.format, id: id, jobs: jobs, chunks: chunks.count, retries: retries)
        guard try link(try json(head), to: headPath) else {
            throw Self.failure(folder, "is a spool already: name another folder, or take it up again with --resume")
        }
        return head
    }

    /// Keeps bytes by their digest, once.
    ///
    /// - Returns: the digest in hexadecimal.
    /// - Throws: ``CommandFailure``.
    func keep(_ image: Image) throws(CommandFailure) -> String {
        let digest = HexText.describe(digest: image.digest?.bytes ?? ContentDigest(hashing: image.bytes).bytes)
        if !FileManager.default.fileExists(atPath: objectPath(digest)) {
            _ = try link(image.bytes, to: objectPath(digest))
        }
        return digest
    }

    // MARK: Reading it

    /// What the spool says of itself.
    ///
    /// - Throws: ``CommandFailure``.
    func head() throws(CommandFailure) -> Head {
        let bytes = try read(headPath, limit: 1 << 16)
        guard let head = try? JSONDecoder().decode(Head.self, from: Data(bytes)) else {
            throw Self.failure(headPath, "is no spool's head: format, id, jobs, chunks and retries are expected")
        }
        guard head.format == Self.format else {
            throw Self.failure(
                headPath, "has format \(head.format), and this kvmjob knows \(Self.format): use the one that made it")
        }
        guard (1...Self.jobLimit).contains(head.jobs), (1...ChunkPlan.chunkLimit).contains(head.chunks),
            (0...1000).contains(head.retries), SpoolJob.isID(head.id)
        else { throw Self.failure(headPath, "has a number in it that is out of range") }
        return head
    }

    /// The jobs of a chunk.
    ///
    /// - Throws: ``CommandFailure``.
    func chunk(_ number: Int) throws(CommandFailure) -> [SpoolJob] {
        let path = chunkPath(number)
        let lines = try read(path, limit: Self.listLimit).split(separator: UInt8(ascii: "\n"))
        guard lines.count <= Self.jobLimit else { throw Self.failure(path, "has more than \(Self.jobLimit) lines") }
        var jobs: [SpoolJob] = []
        for (index, line) in lines.enumerated() {
            do {
                jobs.append(try SpoolJob(line: Array(line)))
            } catch {
                throw Self.failure(path, "line \(index + 1) \(error.description)")
            }
        }
        return jobs
    }

    /// An object's bytes, which have the digest that names them.
    ///
    /// - Throws: ``CommandFailure``.
    func object(_ digest: String) throws(CommandFailure) -> Image {
        let image = Image(try read(objectPath(digest), limit: ImageSource.byteLimit)).hashed
        guard HexText.describe(digest: image.digest?.bytes ?? []) == digest else {
            throw Self.failure(
                objectPath(digest), "does not have the SHA-256 that it is named by: it was changed or cut short")
        }
        return image
    }

    // MARK: Results

    /// Gives a job its result, unless it has one.
    ///
    /// - Parameter line: with its newline.
    /// - Returns: whether this is the job's result now.
    /// - Throws: ``CommandFailure``.
    func publish(_ line: [UInt8], of id: String) throws(CommandFailure) -> Bool { try link(line, to: resultPath(id)) }

    /// The ids of all jobs that have results.
    ///
    /// - Throws: ``CommandFailure``.
    func results() throws(CommandFailure) -> [String] {
        do {
            return try HostFile.list(path("results")).filter(SpoolJob.isID)
        } catch {
            throw Self.failure(path("results"), "cannot be listed: \(error.text)")
        }
    }

    /// A job's result, with its newline.
    ///
    /// - Throws: ``CommandFailure``.
    func result(of id: String) throws(CommandFailure) -> [UInt8] {
        let line = try read(resultPath(id), limit: Self.resultLimit)
        guard line.last == UInt8(ascii: "\n"), line.firstIndex(of: UInt8(ascii: "\n")) == line.count - 1 else {
            throw Self.failure(resultPath(id), "is not one whole line: remove it, and --resume runs the job again")
        }
        return line
    }

    /// Takes a job's result away.
    ///
    /// - Throws: ``CommandFailure``.
    func remove(_ id: String) throws(CommandFailure) {
        do {
            try FileManager.default.removeItem(atPath: resultPath(id))
        } catch {
            throw Self.failure(resultPath(id), "cannot be removed: \(SystemReason(error).text)")
        }
    }

    // MARK: Files

    private func read(_ path: String, limit: UInt64) throws(CommandFailure) -> [UInt8] {
        do {
            return try HostFile.read(path, limit: limit)
        } catch {
            throw Self.failure(path, "cannot be read: \(error.text)")
        }
    }

    /// Puts bytes under a name that nobody has taken.
    ///
    /// - Returns: false where somebody has.
    private func link(_ bytes: [UInt8], to path: String) throws(CommandFailure) -> Bool {
        let new = self.path("new/\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(atPath: new) }
        do {
            try write(bytes, to: new)
            try FileManager.default.linkItem(atPath: new, toPath: path)
            return true
        } catch {
            let reason = SystemReason(error)
            if reason.code == EEXIST || FileManager.default.fileExists(atPath: path) { return false }
            throw Self.failure(path, "cannot be written: \(reason.text)")
        }
    }

    /// Returns when the bytes are on the disk: a name that leads to none would be worse than no name.
    private func write(_ bytes: [UInt8], to path: String) throws {
        guard FileManager.default.createFile(atPath: path, contents: nil) else {
            throw SystemReason(text: "no file can be made in \(folder)/new")
        }
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        defer { try? handle.close() }
        try handle.write(contentsOf: Data(bytes))
        try handle.synchronize()
    }

    static func failure(_ path: String, _ text: String) -> CommandFailure {
        CommandFailure(message: "\(path) \(text)", status: ExitStatus.broken)
    }
}
