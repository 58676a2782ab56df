// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import Logging
internal import NIOConcurrencyHelpers
internal import ProcessSandbox

/// How much of its sandbox a worker insists on.
enum ConfinementRule: String, Sendable, CaseIterable {
    /// As much as this kernel has.
    case auto
    /// All of it, or it does not start.
    case require
    /// None.
    case off
}

/// What this process has given up, and what it could not.
final class WorkerSandbox: Sendable {
    private struct State {
        var holds: Confinement = []
        /// Of Landlock's interface.
        var version: Int32 = 0
        var missing: [SandboxError] = []
    }

    private let rule: ConfinementRule
    private let keepsJobs: Bool
    private let state = NIOLockedValueBox(State())

    /// - Parameter keepsJobs: whether the database of detached jobs is open.
    init(_ rule: ConfinementRule, keepsJobs: Bool) { (self.rule, self.keepsJobs) = (rule, keepsJobs) }

    /// What holds.
    var holds: Confinement { state.withLockedValue { $0.holds } }

    /// Before there are other threads.
    func closeFiles() throws(Failure) {
        guard rule != .off else { return }
        do throws(SandboxError) {
            let version = try ProcessSandbox.closeFiles()
            state.withLockedValue { state in
                state.holds.insert(.files)
                state.version = version
            }
        } catch {
            try note(error)
        }
    }

    /// Before the first client, when everything else is there. Says in the log what holds.
    func closeCalls(_ logger: Logger) throws(Failure) {
        guard rule != .off else {
            logger.warning("not confined: a guest that breaks out of its machine has what this process has")
            return
        }
        do throws(SandboxError) {
            try ProcessSandbox.closeCalls(keepsJobs: keepsJobs)
            state.withLockedValue { _ = $0.holds.insert(.systemCalls) }
        } catch {
            try note(error)
        }
        log(to: logger)
    }

    private func note(_ error: SandboxError) throws(Failure) {
        guard rule == .auto else {
            throw Failure(status: .systemError, message: "cannot be confined, as --confine require wants: \(error)")
        }
        state.withLockedValue { $0.missing.append(error) }
    }

    private func log(to logger: Logger) {
        let state = state.withLockedValue { $0 }
        var parts: [String] = []
        if state.holds.contains(.systemCalls) { parts.append("system calls by seccomp") }
        if state.holds.contains(.files) { parts.append("files by Landlock \(state.version)") }
        if !parts.isEmpty { logger.info("confined: \(parts.joined(separator: ", "))") }
        for error in state.missing { logger.warning("this kernel does not confine everything: \(error)") }
    }
}
