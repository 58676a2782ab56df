// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Foundation
internal import Worker

/// The options that say on which machines a batch runs.
struct FarmOptions: ParsableArguments {
    enum Engine: String, ExpressibleByArgument, CaseIterable {
        case slurm, parallel
    }

    @Option(
        help: ArgumentHelp(
            "Run on many machines: as arrays of Slurm, or over ssh by GNU parallel on --hosts. kvmjob has to be installed there.",
            valueName: "engine"))
    var via: Engine?

    @Option(
        help: ArgumentHelp(
            "With --via parallel: the machines, as ssh knows them, with commas between.",
            valueName: "[user@]machine,..."))
    var hosts: String?

    @Option(
        help: ArgumentHelp(
            "The folder that holds the batch and takes its results; with --via slurm on storage that all machines share. (default: the --out file's name and .spool)",
            valueName: "folder"))
    var spool: String?

    @Option(help: ArgumentHelp("Jobs that a machine runs at once for one chunk.", valueName: "k"))
    var slots = 4

    @Option(
        help: ArgumentHelp("How long a chunk, which is what a machine is given at once, should take.", valueName: "s"))
    var chunkSeconds = 60

    @Option(
        help: ArgumentHelp(
            "What one job takes on the average, for the size of chunks: 300ms, 10s, 2m. (default: its wall-time budget, at most 1 s)",
            valueName: "duration"),
        transform: DurationText.parse)
    var jobTime: Duration?

    @Option(
        name: .customLong("slurm-option"),
        help: ArgumentHelp(
            "A word for sbatch, such as --slurm-option=--partition=short; as often as needed.", valueName: "word"))
    var slurmOptions: [String] = []

    @Flag(name: .customLong("no-gres"), help: "Do not ask Slurm for kvm, even if the cluster counts it.")
    var avoidsGres = false

    @Option(
        name: .customLong("worker-program"),
        help: ArgumentHelp(
            "kvmjob on the machines. (default: this program's own path for Slurm; kvmjob in PATH over ssh)",
            valueName: "path"))
    var program: String?

    func validate() throws {
        guard (1...WorkerLimits.maximumSlots).contains(slots) else {
            throw ValidationError("--slots takes 1 to \(WorkerLimits.maximumSlots).")
        }
        guard (1...86_400).contains(chunkSeconds) else { throw ValidationError("--chunk-seconds takes 1 to 86400.") }
        guard jobTime ?? .seconds(1) > .zero else { throw ValidationError("--job-time takes more than nothing.") }
        if via == .parallel {
            guard !hostList.isEmpty else { throw ValidationError("--via parallel needs --hosts MACHINE,...") }
            for host in hostList {
                do { _ = try RemoteHost("ssh://\(host)") } catch { throw ValidationError(error.description) }
            }
        }
        guard via != nil || (hosts == nil && spool == nil) else {
            throw ValidationError("--hosts and --spool go with --via.")
        }
        guard via == .parallel || hosts == nil else { throw ValidationError("--hosts goes with --via parallel.") }
        guard via == .slurm || slurmOptions.isEmpty && !avoidsGres else {
            throw ValidationError("--slurm-option and --no-gres go with --via slurm.")
        }
        guard slurmOptions.allSatisfy({ $0.hasPrefix("-") }) else {
            throw ValidationError("A --slurm-option begins with a hyphen: --slurm-option=--partition=NAME.")
        }
    }

    var hostList: [String] { (hosts ?? "").split(separator: ",").map(String.init) }

    /// The path of kvmjob on the machines.
    var workerProgram: String {
        if let program { return program }
        guard via == .slurm else { return "kvmjob" }
        return (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "kvmjob"
    }
}

extension FarmOptions {
    /// The machines that are meant; nil for this one.
    ///
    /// - Parameter earlier: what is to become of results that are there already.
    /// - Throws: ``CommandFailure``.
    func farm(
        out: String?, retries: Int, earlier: ResultsFile.Earlier, tell: @escaping @Sendable ([String]) async -> Void
    ) throws(CommandFailure) -> Farm? {
        guard via != nil else { return nil }
        var policy: RecordedResults.Policy?
        if case .resume(let wanted) = earlier { policy = wanted }
        return try Farm(options: self, out: out, retries: retries, policy: policy, tell: tell)
    }
}
