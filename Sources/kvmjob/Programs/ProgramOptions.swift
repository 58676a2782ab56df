// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Dispatch
internal import Foundation

/// The arguments and options that say which Linux program runs, with which files and which environment.
struct ProgramOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The guest's files: a directory, or a tar archive as it is. Without it a guest has the program, what that needs to start, and --file.",
            valueName: "dir|tar"),
        completion: .file())
    var root: String?

    @Option(
        help: ArgumentHelp(
            "A file or directory of this machine at a place in the guest, over --root (repeatable; the later wins): /etc/hosts=hosts, or only a path that is to be the same in the guest.",
            valueName: "guest=host"),
        transform: FileItem.init(argument:))
    var file: [FileItem] = []

    @Option(
        name: .customLong("env"),
        help: ArgumentHelp(
            "A variable of the guest's environment (repeatable): NAME=VALUE, or NAME for its value here. The guest has PATH, HOME=/ and LANG=C.UTF-8 besides, and nothing else.",
            valueName: "name=value"))
    var variables: [String] = []

    @Argument(
        parsing: .captureForPassthrough,
        help: ArgumentHelp(
            "The program and its arguments. A name without a slash is looked for in PATH: in --root if there is one, else here.",
            valueName: "program"))
    var command: [String] = []

    func validate() throws {
        guard root != "" else { throw ValidationError("--root needs the name of a directory or of a tar archive.") }
        guard let program = words.first, !program.isEmpty else {
            throw ValidationError("Name a program: kvmjob run -- PROGRAM ARGS.")
        }
        guard command.first == "--" || !program.hasPrefix("-") else {
            throw ValidationError(
                "Unknown option '\(program)'. A program's name follows \"--\" if it looks like an option.")
        }
        guard !words.contains(where: { $0.utf8.contains(0) }) else {
            throw ValidationError("Arguments have no NUL in them.")
        }
        _ = try environment(caller: [:], allowsMissing: true)
    }

    /// The program and its arguments, without the mark that stands before them.
    var words: [String] { command.first == "--" ? Array(command.dropFirst()) : command }

    /// The program as the user wrote it.
    var name: String { words.first ?? "" }

    private func environment(caller: [String: String], allowsMissing: Bool = false) throws -> GuestEnvironment {
        do {
            let named = allowsMissing ? variables.filter { $0.contains("=") || $0.isEmpty } : variables
            return try GuestEnvironment(named, caller: caller)
        } catch {
            throw ValidationError("--env: \(error.description).")
        }
    }

    /// What was asked for.
    ///
    /// - Parameter caller: this process's environment.
    /// - Throws: `ValidationError` for a variable that is not set here.
    func request(caller: [String: String] = ProcessInfo.processInfo.environment) throws -> ProgramRequest {
        guard let program = words.first else { throw ValidationError("Name a program: kvmjob run -- PROGRAM ARGS.") }
        return ProgramRequest(
            root: root, items: file, environment: try environment(caller: caller), program: program,
            arguments: Array(words.dropFirst()), callerPath: caller["PATH"])
    }

    /// Finds and reads the files, on a thread of its own.
    ///
    /// - Parameters:
    ///   - limit: the most bytes of a layer, which is the worker's limit for an image.
    ///   - console: where it is told how far this has got, should it take long.
    /// - Throws: ``CommandFailure``, and `ValidationError` as ``request(caller:)`` does.
    func submission(limit: UInt64, telling console: Console) async throws -> ProgramSubmission {
        let request = try request()
        let progress = ReadingProgress()
        return try await ReadingNotice(progress: progress, console: console).whileReading {
            try await DispatchQueue(label: "kvmjob.files").perform {
                try request.submission(limit: min(limit, ImageSource.byteLimit), progress: progress)
            }
        }
    }
}
