// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser

/// `kvmjob status`: how a worker is doing.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Tell how a worker is doing: slots, queue, users, counts and versions.",
        discussion: """
            Users see themselves; operators, who are root, the worker's own user and those whom its configuration names, see all.

            --openmetrics is for Prometheus and its like. node_exporter's textfile collector reads it from a file that is replaced as a \
            whole, by a timer or a line of cron: kvmjob status --openmetrics >m.tmp && mv m.tmp \
            /var/lib/prometheus/node-exporter/kvmjob.prom

            Exit status: 0, or 125 if no worker answers.
            """)

    @OptionGroup(title: "Worker") var worker: WorkerOptions

    @Flag(help: "One JSON object on standard output, instead of text.")
    var json = false

    @Flag(name: .customLong("openmetrics"), help: "OpenMetrics text on standard output, instead of text for people.")
    var openMetrics = false

    func validate() throws {
        guard !json || !openMetrics else { throw ValidationError("--json and --openmetrics exclude each other.") }
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let choice = try worker.choice
            let status = try await choice.asking { try await WorkerStatus.ask($0, at: $1) }
            try await console.output.write(text(of: status, names: TenantNames(for: choice)))
            return 0
        }
    }

    func text(of status: WorkerStatus, names: TenantNames) -> [UInt8] {
        if openMetrics { return Array(OpenMetrics(status: status).text.utf8) }
        if json { return StatusJSON(status: status, names: names).value.bytes + [UInt8(ascii: "\n")] }
        return Array(StatusText(status: status, names: names).lines.map { $0 + "\n" }.joined().utf8)
    }
}
