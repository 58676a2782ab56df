// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import LinuxPersonality

/// How a program ended, as a shell has it: a status, and a line where it did not end by itself.
struct ProgramEnd {
    private let end: JobEnd
    private let name: String
    private let isVerbose: Bool

    /// - Parameter name: the program as the user wrote it.
    init(_ end: JobEnd, name: String, isVerbose: Bool = false) {
        (self.end, self.name, self.isVerbose) = (end, name, isVerbose)
    }

    /// What is passed on as 128 and the signal's number.
    private static let signalBase: Int32 = 128
    /// What a program ends with that writes into a pipe which nobody reads: 128 and SIGPIPE's number.
    static let brokenPipe = signalBase + Int32(Signal.brokenPipe.rawValue)

    // MARK: Status

    /// What the process ends with.
    var status: Int32 {
        switch end {
        case .refused: ExitStatus.cannotRun
        case .lost: ExitStatus.broken
        case .ended(let result): Self.status(of: result)
        }
    }

    private static func status(of result: JobResult) -> Int32 {
        switch result.outcome {
        case .exited(let code): Int32(code & 255)
        case .faulted(let fault): signalBase + Int32(result.program?.signal ?? Signal(fault).rawValue)
        case .exhausted, .waitExpired: ExitStatus.budgetReached
        case .cancelled(by: .client): Interrupts.status
        case .cancelled(by: .disconnect), .cancelled(by: .drain), .hostError: ExitStatus.broken
        case .cancelled(by: .user), .cancelled(by: .operator), .tripleFault, .unemulatable: ExitStatus.failed
        case .halted, .snapshotTaken: 0
        }
    }

    // MARK: Text

    /// What is told on standard error, if anything.
    var lines: [String] {
        let calls = isVerbose || status != 0 ? unknownCalls : nil
        return [ending, calls].compactMap(\.self).map { "kvmjob: \($0)" }
    }

    private var ending: String? {
        switch end {
        case .refused(let rejection): "\(name): \(RefusalText(rejection: rejection).line)"
        case .lost(let message): "\(name): lost: \(message)"
        case .ended(let result): Self.describe(result)
        }
    }

    private static func describe(_ result: JobResult) -> String? {
        let report = result.program
        switch result.outcome {
        case .exited, .halted:
            // As in a shell, who is interrupted or has lost its reader is not told of.
            guard let signal = report?.signal, ![.interrupt, .brokenPipe].contains(Signal(rawValue: signal)) else {
                return nil
            }
            return "\(title(of: signal)) (signal \(signal))"
        case .faulted(let fault): return describe(fault, report)
        case .cancelled(by: .client): return nil
        case .cancelled(by: .disconnect): return "stopped by the end of its connection"
        case .cancelled(by: .drain): return "stopped by the worker's shutdown"
        case .cancelled(by: .user): return "stopped by kvmjob cancel"
        case .cancelled(by: .operator): return "stopped by an operator of the worker"
        case .exhausted(let kind, let limit, let used): return describe(kind, limit: limit, used: used)
        case .waitExpired(let limit):
            return "not started: no slot was free within \(DurationText.describe(nanoseconds: limit))"
        case .hostError(let text): return "a fault of the host: \(text); running it again is safe"
        case .tripleFault: return "stopped by a fault that nothing could handle"
        case .unemulatable(let instruction):
            return "stopped at an instruction that KVM could not run: \(HexText.describe(bytes: instruction.bytes))"
        case .snapshotTaken(let name): return "kept as the snapshot \(HexText.describe(digest: name.bytes))"
        }
    }

    /// Such as `segmentation fault at 0x18, RIP 0x401136 in main+0x14 (signal 11)`.
    private static func describe(_ fault: Fault, _ report: ProgramReport?) -> String {
        let signal = report?.signal ?? Signal(fault).rawValue
        let address = fault.address.map { " at \(HexText.describe($0))" } ?? ""
        let place = report?.place.map { " in \($0)" } ?? ""
        return "\(title(of: signal))\(address), RIP \(HexText.describe(fault.rip))\(place) (signal \(signal))"
    }

    private static func describe(_ kind: BudgetKind, limit: UInt64, used: UInt64) -> String {
        switch kind {
        case .cpuTime: "out of processor time: the budget was \(DurationText.describe(nanoseconds: limit))"
        case .wallTime: "out of time: the budget was \(DurationText.describe(nanoseconds: limit))"
        case .memory: "out of memory: the limit was \(SizeText.describe(limit))"
        case .output: "too much output: the limit was \(SizeText.describe(limit))"
        case .exits: "out of exits: the budget was \(limit)"
        case .steps: "out of steps: the budget was \(limit)"
        }
    }

    private static func title(of signal: UInt8) -> String {
        Signal(rawValue: signal)?.title ?? "ended by a signal"
    }

    private var unknownCalls: String? {
        guard case .ended(let result) = end, let calls = result.program?.unknownCalls, !calls.isEmpty else {
            return nil
        }
        let names = calls.map(SystemCallName.describe)
        return "\(name) made system calls that nothing serves here: \(names.joined(separator: ", "))"
    }
}

extension SystemCallName {
    /// A call for people, also one that has no name here.
    static func describe(_ number: UInt32) -> String { of(number) ?? "number \(number)" }
}

/// The signals that end programs, by their numbers on x86-64.
private enum Signal: UInt8 {
    case hangup = 1, interrupt, quit, illegalInstruction, trap, abort, busError, floatingPoint, kill, user1
    case segmentation, user2, brokenPipe, alarm, termination, stack
    case cpuLimit = 24
    case fileLimit, virtualAlarm, profiling
    case badCall = 31

    /// The one that a CPU exception becomes.
    init(_ fault: Fault) {
        self =
            switch fault.vector {
            case 0, 16, 19: .floatingPoint
            case 1, 3: .trap
            case 6: .illegalInstruction
            case 17: .busError
            default: .segmentation
            }
    }

    /// As shells say it.
    var title: String {
        switch self {
        case .hangup: "hangup"
        case .interrupt: "interrupt"
        case .quit: "quit"
        case .illegalInstruction: "illegal instruction"
        case .trap: "trace/breakpoint trap"
        case .abort: "aborted"
        case .busError: "bus error"
        case .floatingPoint: "floating point exception"
        case .kill: "killed"
        case .user1: "user defined signal 1"
        case .segmentation: "segmentation fault"
        case .user2: "user defined signal 2"
        case .brokenPipe: "broken pipe"
        case .alarm: "alarm clock"
        case .termination: "terminated"
        case .stack: "stack fault"
        case .cpuLimit: "CPU time limit exceeded"
        case .fileLimit: "file size limit exceeded"
        case .virtualAlarm: "virtual timer expired"
        case .profiling: "profiling timer expired"
        case .badCall: "bad system call"
        }
    }
}
