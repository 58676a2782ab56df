// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import JobModel

/// Where a job's output goes with `--output-dir`: files named by its id.
struct OutputFiles: Sendable, Hashable {
    /// Standard output, or the console of an image.
    var output: String
    /// Standard error, of a program only.
    var errors: String?

    /// Nil where no folder was named.
    init?(folder: String?, _ job: BatchJob) {
        guard let folder else { return nil }
        output = "\(folder)/\(job.id).out"
        errors = job.spec.mode == .linux ? "\(folder)/\(job.id).err" : nil
    }

    /// The files, new and empty.
    ///
    /// - Throws: ``CommandFailure``.
    func create() throws -> (output: ByteSink, errors: ByteSink?) {
        (try Self.create(output), try errors.map(Self.create))
    }

    private static func create(_ path: String) throws -> ByteSink {
        do {
            try Data().write(to: URL(fileURLWithPath: path))
            return ByteSink(try FileHandle(forWritingTo: URL(fileURLWithPath: path)), name: "output-file")
        } catch {
            throw CommandFailure.broken("cannot write \(path): \(SystemReason(error).text)")
        }
    }
}
