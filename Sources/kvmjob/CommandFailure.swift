// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser

/// Why a command ends before it could do what it was asked for.
struct CommandFailure: Error, Hashable {
    /// What was wrong and what to do about it.
    var message: String
    /// One of ``ExitStatus``.
    var status: Int32
}

extension ExitCode {
    /// What a command ends with: the status that its work returns, or the one that stands for what it throws, which is told on
    /// standard error.
    ///
    /// - Throws: what is none of this tool's own errors, such as a wrong option's.
    init(telling console: Console, _ work: () async throws -> Int32) async throws {
        do {
            self.init(try await work())
        } catch let failure as CommandFailure {
            await console.say("kvmjob: \(failure.message)")
            self.init(failure.status)
        } catch is CancellationError {
            self.init(ExitStatus.failed)
        } catch OutputError.closed {
            // As quietly as the reader went away.
            self.init(ExitStatus.failed)
        } catch OutputError.failed(let reason) {
            await console.say("kvmjob: cannot write standard output: \(reason)")
            self.init(ExitStatus.broken)
        }
    }
}
