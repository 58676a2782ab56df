// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel

/// The options that hand a job over.
struct DetachOptions: ParsableArguments {
    @Flag(
        help: ArgumentHelp(
            "Hand the job over to the worker and print its number.",
            discussion:
                "It goes on without this command, survives the worker, and is asked for by kvmjob wait, logs and result."
        ))
    var detach = false

    @Option(
        help: ArgumentHelp(
            "With --detach, a name under which the job is submitted once: submitting it again prints the same number.",
            valueName: "name"))
    var key: String?

    func validate() throws {
        guard let key else { return }
        guard detach else { throw ValidationError("--key goes with --detach: only a job that is kept has one.") }
        guard (1...Detachment.keyLimit).contains(key.utf8.count) else {
            throw ValidationError("--key takes 1 to \(Detachment.keyLimit) bytes.")
        }
    }
}

/// The option that says how long a worker that is away is waited for.
struct PatienceOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "How long to wait for a worker that is away, also at the start. (default: 30 s for one that goes away meanwhile, as while it is restarted)",
            valueName: "duration"),
        transform: DurationText.parse)
    var patience: Duration?

    /// For a worker that was there: 30 s.
    static let usual = Duration.seconds(30)
}

extension WorkerChoice {
    /// The same, if what is handed over outlives the command there.
    ///
    /// - Throws: ``CommandFailure`` for a worker of our own.
    func forDetaching() throws(CommandFailure) -> WorkerChoice {
        guard self == .embedded else { return self }
        throw CommandFailure(
            message: "a detached job needs a worker that outlives this command: start the service (systemctl start "
                + "kvmjobd.socket), or name one with --socket PATH or $\(Self.environmentName)",
            status: ExitStatus.broken)
    }
}
