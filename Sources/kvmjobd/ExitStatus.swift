// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What the process tells its parent. The numbers are those of `sysexits.h`, and stable.
enum ExitStatus: CInt, CaseIterable {
    /// It drained, was idle for long enough, or served its one connection.
    case finished = 0
    /// A wrong option.
    case usage = 64
    /// KVM is missing, not permitted, or cannot do what a worker needs.
    case unavailable = 69
    /// The detached jobs that it is to keep cannot be read or written.
    case unusableState = 74
    /// The system refused something that should work.
    case systemError = 71
    /// The settings file is wrong, or there is no socket to serve, or it does not fit.
    case configuration = 78
    /// A second signal came while it drained.
    case interrupted = 130

    /// For people.
    var meaning: String {
        switch self {
        case .finished: "drained, idle for long enough, or its one connection is over"
        case .usage: "wrong option"
        case .unavailable: "KVM is missing, not permitted, or cannot do what a worker needs"
        case .unusableState: "the detached jobs in its state directory cannot be had"
        case .systemError: "the system refused something"
        case .configuration: "the settings file is wrong; or no socket to serve, or one that does not fit"
        case .interrupted: "a second signal came while it drained"
        }
    }
}

/// A reason to give up before or after start-up: what to say, and how to leave.
struct Failure: Error {
    var status: ExitStatus
    var message: String
}
