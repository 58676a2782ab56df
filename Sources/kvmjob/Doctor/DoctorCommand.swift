// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Dispatch
internal import JobProtocol
internal import KVMJobClient

/// `kvmjob doctor`: what this machine can do, and what is missing.
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Tell what this machine's KVM can do, what is missing, and where jobs would run.",
        discussion: "Exit status: 0 if kvmjob submit, with the same worker options, would run a job; else 125.")

    @OptionGroup(title: "Worker") var worker: WorkerOptions

    @Flag(help: "One JSON object on standard output.")
    var json = false

    func run() async throws {
        let choice = try worker.choice
        // The probe blocks for some ten milliseconds while its guests run.
        let kvm = try await DispatchQueue(label: "kvmjob.doctor").perform { KVMFinding.probe() }
        let report = DoctorReport(kvm: kvm, worker: try await .probe(choice))
        let text = json ? DoctorJSON(report: report).value.bytes : Array(DoctorText(report: report).text.utf8)
        do {
            try await Console.standard.output.write(text + [UInt8(ascii: "\n")])
        } catch OutputError.closed {
            // The reader has seen what it wanted.
        } catch OutputError.failed(let reason) {
            await Console.standard.say("kvmjob: cannot write standard output: \(reason)")
            throw ExitCode(ExitStatus.broken)
        }
        throw ExitCode(report.canRunJobs ? 0 : ExitStatus.broken)
    }
}

extension WorkerFinding {
    /// Asks the worker of this choice for its terms.
    ///
    /// - Throws: `CancellationError`.
    fileprivate static func probe(_ choice: WorkerChoice) async throws -> WorkerFinding {
        guard let path = choice.place else { return .embedded }
        do {
            let connection = try await WorkerConnection.open(choice)
            let terms = connection.client.terms
            await connection.close()
            return .reachable(path: path, terms: terms)
        } catch let error as CommandFailure {
            return .unreachable(path: path, reason: error.message)
        }
    }
}
