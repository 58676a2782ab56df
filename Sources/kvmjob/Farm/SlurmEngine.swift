// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Workers as tasks of arrays of Slurm, by `sbatch`, `squeue`, `sinfo`, `scontrol` and `scancel`.
///
/// The arrays of a spool share a name of their own, by which they are found again, also by another process.
///
/// | what happens | what becomes of it |
/// |---|---|
/// | a machine is lost | Slurm declares it down after `SlurmdTimeout` and requeues its task, which it holds back for two minutes (BeginTime): the task is pulled forward |
/// | a task ends and jobs have no result | ``FarmRun`` has the chunk submitted again |
/// | the controller does not answer | the results are followed all the same; it is asked again |
/// | a task waits for somebody's doing | that is told with the commands, once (``SlurmTrouble``) |
actor SlurmEngine: FarmEngine {
    struct Settings: Sendable, Hashable {
        /// kvmjob on the machines: a path.
        var program: String
        /// Jobs of a chunk at once, each with a processor and, where the cluster counts them, a `kvm`.
        var slots = 4
        /// Whether to ask for `kvm` where the cluster has it.
        var asksForKVM = true
        /// Further words for `sbatch`, such as `--partition=short`.
        var options: [String] = []
    }

    private let spool: Spool
    private let settings: Settings
    private let name: String
    private let command: HostCommand.Runner
    private let tell: @Sendable ([String]) async -> Void
    private var arrays: [String] = []
    private var told: Set<SlurmTrouble> = []
    private var isSilent = false

    /// - Parameter tell: takes lines for people.
    init(
        spool: Spool, id: String, settings: Settings, command: @escaping HostCommand.Runner = HostCommand.run,
        tell: @escaping @Sendable ([String]) async -> Void
    ) {
        (self.spool, self.settings, self.command, self.tell) = (spool, settings, command, tell)
        name = "kvmjob-\(id)"
    }

    // MARK: Submitting

    func submit(_ chunks: [Int]) async throws {
        let answer = try await command(["sbatch"] + words(for: chunks, hasKVM: try await hasKVM()))
        guard answer.status == 0 else {
            let trouble = SlurmTrouble.refused(answer.complaint)
            throw CommandFailure(message: trouble.lines.joined(separator: "\n"), status: ExitStatus.broken)
        }
        // "number" or "number;cluster", as --parsable has it.
        let array = answer.output.prefix { $0.isNumber }
        guard !array.isEmpty else { throw Self.failure("sbatch printed what is no number: \(answer.output)") }
        arrays.append(String(array))
    }

    private func words(for chunks: [Int], hasKVM: Bool) -> [String] {
        let script =
            "exec \(ShellWord.quoted(settings.program)) worker --spool \(ShellWord.quoted(spool.folder)) "
            + "--chunk \"$SLURM_ARRAY_TASK_ID\" --slots \(settings.slots)"
        return [
            "--parsable", "--requeue", "--job-name=\(name)", "--array=\(IndexRanges(chunks).text)", "--ntasks=1",
            "--cpus-per-task=\(settings.slots)", "--export=NONE", "--open-mode=append", "--chdir=\(spool.folder)",
            "--output=\(spool.folder.replacing("%", with: "%%"))/logs/%A_%a.log",
        ] + (hasKVM ? ["--gres=kvm:\(settings.slots)"] : []) + settings.options + ["--wrap=\(script)"]
    }

    /// Whether some machine counts its virtual machines.
    private func hasKVM() async throws -> Bool {
        guard settings.asksForKVM else { return false }
        let answer = try await command(["sinfo", "--noheader", "--format=%G"])
        guard answer.status == 0 else { return false }
        return answer.output.split { $0 == "," || $0.isNewline || $0 == " " }.contains { word in
            word == "kvm" || word.hasPrefix("kvm:") || word.hasPrefix("kvm(")
        }
    }

    /// How many machines there are; 1 where nobody says.
    func nodeCount() async throws -> Int { max(1, try await nodes()?.count ?? 1) }

    // MARK: Following

    func activeChunks() async throws -> Set<Int>? {
        let answer = try await command(
            ["squeue", "--noheader", "--array", "--states=all", "--name=\(name)", "--format=\(SlurmTask.format)"])
        try Task.checkCancellation()
        guard answer.status == 0 else {
            await noteSilence(answer.complaint)
            return nil
        }
        if isSilent { await tell(["slurm: the controller answers again"]) }
        isSilent = false
        let tasks = try Self.parsed { () throws(ValueError) in try SlurmTask.parse(answer.output) }.filter(\.isActive)
        try await pullForward(tasks.filter(\.isHeldBack))
        try await explain(tasks)
        return Set(tasks.map(\.chunk))
    }

    private func noteSilence(_ complaint: String) async {
        guard !isSilent else { return }
        isSilent = true
        await tell(["slurm: squeue has no answer (\(complaint)); results are followed, and it is asked again"])
    }

    /// A task that was requeued would wait for two minutes for nothing.
    private func pullForward(_ tasks: [SlurmTask]) async throws {
        for task in tasks {
            // One that has started meanwhile is none of ours to change any more.
            let answer = try await command(["scontrol", "update", "JobId=\(task.id)", "StartTime=now"])
            if answer.status == 0 { await tell(["slurm: task \(task.id) was requeued, and is pulled forward"]) }
        }
    }

    /// Tells of each trouble once.
    private func explain(_ tasks: [SlurmTask]) async throws {
        guard tasks.contains(where: { $0.isWaiting && !$0.isHeldBack }) else { return }
        let troubles = SlurmTrouble.all(tasks, nodes: try await nodes() ?? [])
        for trouble in troubles where !told.contains(trouble) { await tell(trouble.lines) }
        told.formUnion(troubles)
    }

    private func nodes() async throws -> [SlurmNode]? {
        let answer = try await command(["sinfo", "--noheader", "--Node", "--format=\(SlurmNode.format)"])
        guard answer.status == 0 else { return nil }
        return try Self.parsed { () throws(ValueError) in try SlurmNode.parse(answer.output) }
    }

    // MARK: The end

    func cancel() async {
        do {
            let answer = try await command(["scancel", "--name=\(name)"])
            guard answer.status != 0 else { return }
            await tell(["slurm: the tasks could not be cancelled (\(answer.complaint)); do: scancel --name=\(name)"])
        } catch {
            await tell(["slurm: the tasks could not be cancelled; do: scancel --name=\(name)"])
        }
    }

    /// What there is, is in the spool.
    func tidy() async {}

    func lastWords(of chunk: Int) async -> String? {
        let paths = arrays.reversed().map { spool.path("logs/\($0)_\(chunk).log") }
        return await Task.detached { () -> String? in
            for path in paths {
                guard let text = try? HostFile.read(path, limit: Spool.logLimit) else { continue }
                let lines = String(decoding: text, as: UTF8.self).split(whereSeparator: \.isNewline)
                if !lines.isEmpty { return lines.suffix(3).joined(separator: "; ") }
            }
            return nil
        }.value
    }

    private static func parsed<Value>(_ parse: () throws(ValueError) -> Value) throws(CommandFailure) -> Value {
        do { return try parse() } catch { throw failure(error.description) }
    }

    private static func failure(_ text: String) -> CommandFailure {
        CommandFailure(message: text, status: ExitStatus.broken)
    }
}
