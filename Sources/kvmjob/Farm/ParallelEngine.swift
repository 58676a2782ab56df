// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import JobTransport

/// Workers on machines that ssh reaches, by GNU parallel: one at a time on each, with the next chunk as soon as it is done. Nothing is
/// shared: parallel copies chunks and objects to each machine once (rsync), workers print their results, and they are published here.
///
/// | what happens | what becomes of it |
/// |---|---|
/// | a machine is lost | ssh gives up after some seconds (ServerAliveInterval), and parallel gives the chunk to another (`--retries`); results that had come stay |
/// | a worker ends and jobs have no result | likewise |
/// | parallel ends and jobs have no result | ``FarmRun`` has it started again with their chunks |
/// | this process ends | ssh and parallel end with it, and the workers with ssh |
actor ParallelEngine: FarmEngine {
    struct Settings: Sendable, Hashable {
        /// Names as ssh knows them: `[user@]machine`.
        var hosts: [String]
        /// kvmjob there: a name in the PATH of a shell that ssh starts, or a path.
        var program = "kvmjob"
        /// Jobs of a chunk at once.
        var slots = 4
    }

    private let spool: Spool
    private let settings: Settings
    private let id: String
    private let tell: @Sendable ([String]) async -> Void
    private var process: ChildProcess?
    private var active: Set<Int> = []
    private var errors: [Substring] = []

    /// How often parallel gives a chunk to a machine: 3.
    static let tries = 3
    /// How long ssh may take to connect, and after how many seconds without an answer a machine counts as lost: 2 times 3.
    static let secureShell =
        "ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=2 -o ServerAliveCountMax=3"

    init(spool: Spool, id: String, settings: Settings, tell: @escaping @Sendable ([String]) async -> Void) {
        (self.spool, self.id, self.settings, self.tell) = (spool, id, settings, tell)
    }

    /// The folder there, from the user's own. No name of ours has a character in it that a shell would take for more.
    private var place: String { ".kvmjob-spool-\(id)" }

    // MARK: Starting

    func submit(_ chunks: [Int]) async throws {
        let (output, far) = try UnixSocket.connectedPair()
        let (said, farErrors) = try UnixSocket.connectedPair()
        let process = try await HostCommand.start(words(for: chunks), far, errors: farErrors) {
            [output, said].forEach(UnixSocket.close)
        }
        (self.process, active) = (process, Set(chunks))
        let spool = spool
        Task {
            async let complaints = Self.text(ByteSource(descriptor: said))
            let results = await Result.catching { try await Self.publish(ByteSource(descriptor: output), in: spool) }
            await ended(process, results: results, errors: await complaints)
        }
    }

    private func words(for chunks: [Int]) -> [String] {
        let base = ["spool.json", "chunks", "objects"].flatMap { ["--basefile", "\(spool.folder)/./\($0)"] }
        let worker =
            "\(ShellWord.quoted(settings.program)) worker --spool . --chunk {} --slots \(settings.slots) --print"
        return ["parallel", "--will-cite", "--jobs", "1", "--sshlogin", settings.hosts.joined(separator: ",")]
            + ["--ssh", Self.secureShell, "--retries", "\(Self.tries)", "--joblog", spool.path("logs/parallel.joblog")]
            + ["--line-buffer", "--workdir", place] + base + [worker, ":::"] + chunks.map(String.init)
    }

    // MARK: Following

    func activeChunks() async throws -> Set<Int>? { active }

    private func ended(_ process: ChildProcess, results: Result<Void, any Error>, errors: String) async {
        _ = await process.ended()
        self.errors = errors.split(whereSeparator: \.isNewline)
        if case .failure(let error) = results {
            await tell(["parallel: \((error as? CommandFailure)?.message ?? "\(error)")"])
        }
        guard self.process === process else { return }
        (self.process, active) = (nil, [])
    }

    /// A line that is no result, such as one that a lost machine cut short, is left out: its job's result is missing then.
    private static func publish(_ source: ByteSource, in spool: Spool) async throws {
        var pending: [UInt8] = []
        while let piece = try await source.next() {
            let searched = pending.count
            pending += piece
            guard let last = pending[searched...].lastIndex(of: UInt8(ascii: "\n")) else {
                guard pending.count <= Int(Spool.resultLimit) else { throw OutputError.failed("a result is too long") }
                continue
            }
            for line in pending[...last].split(separator: UInt8(ascii: "\n")) {
                guard let id = jobID(of: line) else { continue }
                let whole = Array(line) + [UInt8(ascii: "\n")]
                _ = try await Spool.queue.perform { try spool.publish(whole, of: id) }
            }
            pending.removeSubrange(...last)
        }
    }

    private struct Identified: Decodable {
        var jobID: String

        enum CodingKeys: String, CodingKey {
            case jobID = "job_id"
        }
    }

    private static func jobID(of line: ArraySlice<UInt8>) -> String? {
        guard let id = try? JSONDecoder().decode(Identified.self, from: Data(line)).jobID, SpoolJob.isID(id) else {
            return nil
        }
        return id
    }

    private static func text(_ source: ByteSource) async -> String {
        var text: [UInt8] = []
        while let piece = try? await source.next() { text = text.suffix(1 << 16) + piece }
        return String(decoding: text, as: UTF8.self)
    }

    // MARK: The end

    func cancel() async {
        if let process {
            // The first asks it to wait for what runs, the second ends that.
            process.terminate()
            process.terminate()
            _ = await process.ended()
        }
        await tidy()
    }

    func tidy() async {
        // A worker that is just being started or ended may bring the folder back.
        let script =
            "for try in 1 2 3 4 5; do rm -rf \(place); sleep 1; [ -e \(place) ] || { echo tidy; break; }; done"
        let words =
            ["parallel", "--will-cite", "--nonall", "--tag", "--sshlogin", settings.hosts.joined(separator: ",")]
            + ["--ssh", Self.secureShell, script]
        let answer = try? await HostCommand.run(words)
        let tidy = Set(
            (answer?.output ?? "").split(whereSeparator: \.isNewline).filter { $0.hasSuffix("\ttidy") }
                .map { String($0.dropLast("\ttidy".count)) })
        let rest = settings.hosts.filter { !tidy.contains($0) }
        guard !rest.isEmpty else { return }
        await tell(["parallel: could not tidy up on \(rest.joined(separator: ", ")): remove ~/\(place) there"])
    }

    func lastWords(of chunk: Int) async -> String? { errors.isEmpty ? nil : errors.suffix(3).joined(separator: "; ") }
}
