// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser

/// `kvmjob report`: makes a page of results that there are.
struct ReportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Make a page of a batch's results.",
        discussion: """
            Takes what kvmjob batch wrote, or the lines of kvmjob submit --json, and makes one file for a browser: outcomes, wall times, \
            steps, and a table of the jobs to filter and to sort. The page needs no network and loads nothing.

            A last line that was cut short is left out, which is told.

            Exit status: 0 if the page was written, 126 if the results cannot be read, 125 for a fault of kvmjob or the host.

            Example: kvmjob report results.jsonl --html results.html
            """)

    @Argument(
        help: ArgumentHelp("A file with one result on each line; - is standard input.", valueName: "results"),
        completion: .file(extensions: ["jsonl", "json"]))
    var results: String

    @Option(help: ArgumentHelp("The page to write.", valueName: "file"), completion: .file(extensions: ["html"]))
    var html: String

    @Option(help: ArgumentHelp("What the page is called; by default the file of results.", valueName: "text"))
    var title: String?

    func run() async throws {
        let console = Console.standard
        let name = results == "-" ? "standard input" : results
        throw try await ExitCode(telling: console) {
            try await HTMLReport.write(html, of: ResultLines(path: results, name: name), title: title ?? name, console)
            return 0
        }
    }
}

extension HTMLReport {
    /// Makes the page of these results; where one of them cannot be read, there is none.
    static func write(_ path: String, of results: ResultLines, title: String, _ console: Console) async throws {
        var report = try HTMLReport(path: path, title: title)
        do {
            let cut = try await results.read { line in try report.add(line: line) }
            if cut { await console.say("kvmjob: \(results.name): the last line is cut short: it is left out") }
            try report.finish()
        } catch {
            report.discard()
            throw error
        }
    }
}
