// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// How jobs are shown.
struct Presentation: Sendable {
    /// What becomes of the guests' output.
    enum Style: Sendable, Equatable {
        /// Passed on unchanged, as it comes.
        case raw
        /// Passed on line by line, with the job's name before each.
        case prefixed
        /// Kept, for one JSON object at the job's end.
        case collected
        /// Passed on as messages; what comes out is the name of the snapshot. Whether the verdict on a success is told, too.
        case name(isTold: Bool)
    }

    var style: Style
    /// Whether the registers follow the verdict.
    var showsRegisters = false
    /// What else is shown of the guest.
    var inspection = Inspection()
    /// Whether port writes were asked for.
    var listsPortWrites = false
    /// The jobs' step budget, nil where they run unmetered.
    var stepBudget: UInt64?
    /// The most bytes of standard output, and of standard error, that are kept for a job's object in JSON.
    var outputLimit = JobReport.outputLimit
}

/// Shows one job: its output while it runs, its end when it has ended.
struct JobDisplay {
    private let presentation: Presentation
    private let console: Console
    private(set) var report: JobReport
    private var prefixer: LinePrefixer
    private var errorPrefixer: LinePrefixer
    private var portWrites = PortWriteDecoder()
    private var memory: MemoryReceiver
    private var trace: TraceDisplay
    private var lastByte = UInt8(ascii: "\n")

    init(image: String, name: String, presentation: Presentation, console: Console) {
        report = JobReport(image: image, name: name, end: .lost("it has not ended"))
        if case .collected = presentation.style {
            report.output = BoundedList(limit: presentation.outputLimit)
            report.errors = BoundedList(limit: presentation.outputLimit)
        }
        (prefixer, errorPrefixer) = (LinePrefixer(name: name), LinePrefixer(name: name))
        memory = MemoryReceiver(presentation.inspection)
        trace = TraceDisplay(name: name)
        (self.presentation, self.console) = (presentation, console)
    }

    /// Gets ready for what will come.
    ///
    /// - Throws: ``Rejection`` where the core's file cannot be written.
    mutating func begin(_ spec: JobSpec, _ source: JobSource) async throws {
        report.mode = spec.mode
        // Where a snapshot was taken, only the worker knows.
        if case .image = source { report.entries = spec.possibleEntries }
        try await memory.open(memoryBytes: spec.memoryBytes)
    }

    /// Takes note of what the worker says of the job.
    mutating func accept(_ acceptance: Acceptance) { report.id = acceptance.id }

    /// Shows or keeps what came; returns when that is written.
    ///
    /// - Throws: ``OutputError``.
    mutating func receive(_ channel: OutputChannel, _ bytes: [UInt8]) async throws {
        switch channel {
        case .standardError: try await receive(errors: bytes)
        case .console: try await receive(console: bytes)
        case .portWrites: await receive(portWrites: portWrites.feed(bytes))
        case .memory: await memory.receive(bytes)
        case .trace: try await receive(trace: bytes)
        }
    }

    private mutating func receive(console bytes: [UInt8]) async throws {
        switch presentation.style {
        case .raw:
            lastByte = bytes.last ?? lastByte
            try await console.output.write(bytes)
        case .name:
            lastByte = bytes.last ?? lastByte
            try? await console.messages.write(bytes)
        case .prefixed: try await console.output.write(prefixer.feed(bytes))
        case .collected: report.output.append(bytes)
        }
    }

    /// Of a program.
    private mutating func receive(errors bytes: [UInt8]) async throws {
        if case .collected = presentation.style { return report.errors.append(bytes) }
        let isPrefixed = presentation.style == .prefixed
        try? await console.messages.write(isPrefixed ? errorPrefixer.feed(bytes) : bytes)
    }

    private mutating func receive(portWrites: [PortWrite]) async {
        switch presentation.style {
        case .raw, .prefixed, .name: for write in portWrites { await console.say("\(report.name): \(write.text)") }
        case .collected: report.portWrites.append(portWrites)
        }
    }

    /// Keeps what it takes to run the job again, where there will be a report to put it in.
    mutating func record(_ job: JobDescription) throws {
        guard case .collected = presentation.style else { return }
        report.job = try job.json
    }

    /// A guest is as fast as its trace is read.
    private mutating func receive(trace bytes: [UInt8]) async throws {
        guard !trace.isBroken else { return }
        if case .collected = presentation.style {
            let lines = trace.objects(bytes).flatMap { $0.bytes + [UInt8(ascii: "\n")] }
            try await console.output.write(lines)
        } else {
            let prefix = presentation.style == .prefixed ? "\(report.name): " : ""
            let lines = trace.lines(bytes).map { "\(prefix)\($0)\n" }
            try await console.messages.write(Array(lines.joined().utf8))
        }
        if trace.isBroken {
            await console.say("\(report.name): the trace ends here: the worker sent what is no record of one")
        }
    }

    /// Shows the end.
    ///
    /// - Throws: ``OutputError``; ``CommandFailure`` where the core could not be written.
    mutating func finish(_ end: JobEnd) async throws {
        conclude(end)
        try await showEnd()
        // Of a job that never was, or was lost, its own status tells.
        guard case .ended = end, let path = presentation.inspection.corePath,
            let reason = await memory.finishCore(of: report)
        else { return }
        throw CommandFailure(message: "no core at \(path): \(reason)", status: ExitStatus.broken)
    }

    /// Completes the report without showing it.
    mutating func conclude(_ end: JobEnd) {
        report.end = end
        guard !presentation.inspection.dumps.isEmpty else { return }
        var dumps = memory.dumps(of: end)
        if presentation.inspection.endsInScreen, let page = dumps.popLast() { report.screen = TextScreen(page.bytes) }
        let asksForMore = presentation.inspection.dumps.count > (presentation.inspection.endsInScreen ? 1 : 0)
        if asksForMore { report.dumps = dumps }
    }

    private mutating func showEnd() async throws {
        switch presentation.style {
        case .collected: return try await console.output.write(json)
        case .name(let isTold): return try await showName(isTold: isTold)
        case .raw, .prefixed: break
        }
        try await console.output.write(prefixer.finish())
        try? await console.messages.write(errorPrefixer.finish())
        // On a terminal the verdict should not stick to a last line that has no end.
        let lineBreak = console.isTerminal && lastByte != UInt8(ascii: "\n") ? "\n" : ""
        let inspected = PostMortemText(
            report: report, sections: presentation.inspection.sections, isBold: console.isTerminal)
        await console.say(
            ([lineBreak + Verdict(report: report).line] + registers + inspected.lines).joined(separator: "\n"))
        for dump in report.dumps ?? [] { await show(dump) }
        if let screen = report.screen { await console.say(screen.text.joined(separator: "\n")) }
    }

    /// The name of the snapshot, or why there is none.
    private func showName(isTold: Bool) async throws {
        let lineBreak = lastByte == UInt8(ascii: "\n") ? "" : "\n"
        guard case .ended(let result) = report.end, case .snapshotTaken(let name) = result.outcome else {
            await console.say(lineBreak + Verdict(report: report).line)
            if report.end.isOfTheGuest { await console.say("kvmjob: no snapshot: the guest ended before its point") }
            return
        }
        if isTold { await console.say(lineBreak + Verdict(report: report).line) }
        try await console.output.write(Array("\(HexText.describe(digest: name.bytes))\n".utf8))
    }

    /// Shows a window in pieces, since its lines take some five times the window's own place.
    private func show(_ dump: MemoryDump) async {
        await console.say(dump.heading)
        let lines = HexDump(address: dump.address, bytes: dump.bytes).makeIterator()
        while let line = lines.next() {
            await console.say(([line] + lines.prefix(Self.linesPerWrite)).joined(separator: "\n"))
        }
    }

    private static let linesPerWrite = 4096

    private var json: [UInt8] {
        let report = JSONReport(
            report: report, stepBudget: presentation.stepBudget, listsPortWrites: presentation.listsPortWrites)
        return report.value.bytes + [UInt8(ascii: "\n")]
    }

    private var registers: [String] {
        guard presentation.showsRegisters, case .ended(let result) = report.end else { return [] }
        return RegisterTable(result).lines
    }
}

extension JobEnd {
    /// Whether the guest ended by itself, for good or bad.
    fileprivate var isOfTheGuest: Bool {
        guard case .ended(let result) = self else { return false }
        return switch result.outcome {
        case .halted, .exited, .faulted, .tripleFault, .unemulatable: true
        case .exhausted, .cancelled, .waitExpired, .hostError, .snapshotTaken: false
        }
    }
}
