// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation

/// Where a job's output goes with `--output-dir`: files named by its id.
struct OutputFiles: Sendable, Hashable {
    /// Standard output, or the console of an image.
    var output: String
    /// Standard error, of a program only.
    var errors: String?

    init(folder: String, id: String, hasErrors: Bool) {
        output = "\(folder)/\(id).out"
        errors = hasErrors ? "\(folder)/\(id).err" : nil
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
