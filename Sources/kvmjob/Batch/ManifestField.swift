// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel

/// The fields of a manifest's line, by the names that they have in it. What they mean, the options of `kvmjob submit` and
/// `kvmjob run` with the same names say: `wall_time` is `--wall-time`.
enum ManifestField: String, CaseIterable, Sendable {
    case image, hex, from, program
    case root, file, env
    case format, append, module
    case board, vcpus, turn
    case mode, load, entry, set
    case memory, memoryAt = "memory_at"
    case steps, wallTime = "wall_time", cpuTime = "cpu_time", exits, outputLimit = "output_limit"
    case touchedMemory = "touched_memory", meter, scratch, clock, seed
    case stdin, stdinText = "stdin_text"
    case priority, wait
    case registers, fpu, dump, screen, portWrites = "port_writes", deterministic, digest
    case label

    /// What a line runs, for which not every field makes sense.
    enum Kind: Sendable { case image, program }

    /// Nil for a field of every line.
    var kind: Kind? {
        switch self {
        case .image, .hex, .from, .format, .append, .module, .board, .vcpus, .turn, .mode, .load, .entry,
            .set, .memoryAt, .steps, .exits, .touchedMemory, .meter, .registers, .fpu, .dump, .screen, .portWrites,
            .deterministic, .digest:
            .image
        case .program, .root, .file, .env, .scratch, .clock, .seed: .program
        case .memory, .wallTime, .cpuTime, .outputLimit, .stdin, .stdinText, .priority, .wait, .label: nil
        }
    }

    /// The names of an image's fields, of a program's, or of both.
    static func names(of kind: Kind?) -> String {
        allCases.filter { $0.kind == kind }.map(\.rawValue).joined(separator: ", ")
    }

    /// Options of `submit` and `run` that are no fields, and why.
    static let leftOut: [String: String] = [
        "core": "one file for a job's memory: submit that job by itself",
        "trace": "a stream of its own beside the result: submit that job by itself",
        "on-exhausted": "somebody would have to answer each pause",
        "repeat": "write the line as often: each gets a job_id of its own",
        "detach": "all lines are handed over with batch --detach",
        "key": "a line is known by its job_id",
        "json": "every result of a batch is JSON",
        "verbose": "what it tells is in the results",
        "socket": "all lines go to one worker: an option of batch",
        "host": "all lines go to one worker: an option of batch",
        "embedded": "all lines go to one worker: an option of batch",
    ]
}
