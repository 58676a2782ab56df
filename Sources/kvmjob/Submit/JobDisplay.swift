// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// How jobs are shown.
struct Presentation: Sendable {
    /// What becomes of the guests' output.
    enum Style: Sendable {
        /// Passed on unchanged, as it comes.
        case raw
        /// Passed on line by line, with the job's name before each.
        case prefixed
        /// Kept, for one JSON object at the job's end.
        case collected
    }

    var style: Style
    /// Whether the registers follow the verdict.
    var showsRegisters = false
    /// Whether port writes were asked for.
    var listsPortWrites = false
    /// The jobs' step budget, nil where they run unmetered.
    var stepBudget: UInt64?
}

/// Shows one job: its output while it runs, its end when it has ended.
struct JobDisplay {
    private let presentation: Presentation
    private let console: Console
    private var report: JobReport
    private var prefixer: LinePrefixer
    private var portWrites = PortWriteDecoder()
    private var lastByte = UInt8(ascii: "\n")

    init(image: String, name: String, presentation: Presentation, console: Console) {
        report = JobReport(image: image, name: name, end: .lost("it has not ended"))
        prefixer = LinePrefixer(name: name)
        (self.presentation, self.console) = (presentation, console)
    }

    /// Shows or keeps what came; returns when that is written.
    ///
    /// - Throws: ``OutputError``.
    mutating func receive(_ channel: OutputChannel, _ bytes: [UInt8]) async throws {
        switch channel {
        case .console: try await receive(console: bytes)
        case .portWrites: await receive(portWrites: portWrites.feed(bytes))
        case .memory, .trace: break
        }
    }

    private mutating func receive(console bytes: [UInt8]) async throws {
        switch presentation.style {
        case .raw:
            lastByte = bytes.last ?? lastByte
            try await console.output.write(bytes)
        case .prefixed: try await console.output.write(prefixer.feed(bytes))
        case .collected: report.output.append(bytes)
        }
    }

    private mutating func receive(portWrites: [PortWrite]) async {
        switch presentation.style {
        case .raw, .prefixed: for write in portWrites { await console.say("\(report.name): \(write.text)") }
        case .collected: report.portWrites.append(portWrites)
        }
    }

    /// Keeps what it takes to run the job again, where there will be a report to put it in.
    mutating func record(_ job: JobDescription) throws {
        guard presentation.style == .collected else { return }
        report.job = try job.json
    }

    /// Shows the end.
    ///
    /// - Throws: ``OutputError``.
    mutating func finish(_ end: JobEnd) async throws {
        report.end = end
        guard presentation.style != .collected else { return try await console.output.write(json) }
        try await console.output.write(prefixer.finish())
        // On a terminal the verdict should not stick to a last line that has no end.
        let lineBreak = console.isTerminal && lastByte != UInt8(ascii: "\n") ? "\n" : ""
        await console.say(([lineBreak + Verdict(report: report).line] + registers).joined(separator: "\n"))
    }

    private var json: [UInt8] {
        let report = JSONReport(
            report: report, stepBudget: presentation.stepBudget, listsPortWrites: presentation.listsPortWrites)
        return report.value.bytes + [UInt8(ascii: "\n")]
    }

    private var registers: [String] {
        guard presentation.showsRegisters, case .ended(let result) = report.end else { return [] }
        return RegisterTable(registers: result.registers, system: result.system).lines
    }
}
