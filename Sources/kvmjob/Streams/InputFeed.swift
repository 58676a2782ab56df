// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVMJobClient

/// Gives a job what a source has, as it comes.
struct InputFeed: Sendable {
    let source: ByteSource
    let job: RunningJob
    let console: Console

    /// Nobody waits for this: a job can end while its input still waits for somebody to type.
    func start() {
        Task {
            do {
                while let piece = try await source.next() { try await job.send(piece) }
                try await job.finishInput()
            } catch let reason as SystemReason {
                await console.say("kvmjob: stopping the job, its input cannot be read: \(reason.text)")
                job.cancel()
            }
            // What else can be thrown is that the job has ended, of which its result tells.
        }
    }
}
