// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel
internal import KVMJobClient

/// What becomes of a job that has used up its steps.
enum ExhaustionAction: String, CaseIterable, ExpressibleByArgument {
    case end
    case pause
}

/// Where answers to pauses come from, line by line.
struct AnswerSource: Sendable {
    /// A file, or "-" for standard input.
    var path: String
    /// Whether somebody is to be prompted.
    var isTerminal: Bool
}

/// Tells where a paused job stands, and asks how many steps it may take more.
struct PauseDialog: Sendable {
    let name: String
    let presentation: Presentation
    let console: Console
    let source: AnswerSource
    /// How many steps an empty line stands for.
    let usualSteps: UInt64

    /// Answers the job's pauses until the job has ended. Where answers end, or cannot be read, or a pause cannot be told, the job is
    /// given up.
    func follow(_ job: RunningJob) async {
        do {
            var lines = LineReader(try ByteSource(path: source.path))
            for await pause in job.pauses {
                try await tell(of: pause)
                job.extend(steps: try await answer(from: &lines))
            }
        } catch {
            if let reason = error as? SystemReason {
                await console.say("kvmjob: giving the job up, no answer can be read: \(reason.text)")
            }
            for await _ in job.pauses { job.extend(steps: 0) }
        }
    }

    // MARK: Telling

    /// - Throws: ``OutputError``.
    private func tell(of pause: Pause) async throws {
        guard presentation.style != .collected else {
            let object = JSONPause(name: name, pause: pause).value
            return try await console.output.write(object.bytes + [UInt8(ascii: "\n")])
        }
        let lineBreak = console.isTerminal && !console.output.isAtLineStart ? "\n" : ""
        let table = RegisterTable(registers: pause.registers, system: pause.system).lines
        let lines = [lineBreak + line(for: pause)] + (presentation.showsRegisters ? table : [])
        await console.say(lines.joined(separator: "\n"))
    }

    private func line(for pause: Pause) -> String {
        let place = pause.registers.map { " at rip \(HexText.describe($0.rip))" } ?? ""
        let time = DurationText.describe(nanoseconds: pause.keepNanoseconds)
        return "\(name): paused after \(pause.steps) steps\(place); kept for \(time)"
    }

    // MARK: Asking

    private func answer(from lines: inout LineReader) async throws -> UInt64 {
        while true {
            if source.isTerminal {
                try? await console.messages.write(
                    Array("steps more (empty for \(usualSteps), q to give up): ".utf8))
            }
            guard let line = try await lines.next() else { return 0 }
            do throws(ValueError) {
                return try Self.steps(line, usual: usualSteps)
            } catch {
                await console.say("kvmjob: \(error.description)")
            }
        }
    }

    /// How many steps a line stands for; 0 gives the job up.
    static func steps(_ line: String, usual: UInt64) throws(ValueError) -> UInt64 {
        let words = line.split(whereSeparator: \.isWhitespace)
        switch words.first {
        case nil: return usual
        case "q" where words.count == 1: return 0
        case let word?:
            if words.count == 1, let steps = try? WholeNumber.parse(String(word)), steps > 0 { return steps }
            throw ValueError(
                "\"\(line)\" is no answer: write how many steps more, an empty line for \(usual), or q to give up")
        }
    }
}
