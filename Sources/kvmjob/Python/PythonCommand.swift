// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser

/// `kvmjob python`: a script in a virtual machine, by an interpreter that has started already.
struct PythonCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "python",
        abstract: "Run a Python script in a virtual machine of its own, by an interpreter that is warm.",
        discussion: """
            The interpreter is this machine's python3 with its standard library, and no other modules. The first run takes it to where \
            it is ready for a script and has the worker keep it there; each later one goes on from there, in a copy of its own, so \
            that it starts in milliseconds. The script sees the files that --file brings and its own, and nothing of this machine. \
            Standard input, output and error are this command's own.

            Scripts of one user start with the same hash seed, as long as the worker keeps the interpreter.

            Exit status: as of kvmjob run.

            Example: kvmjob python --cpu-time 2s solution.py < input.txt
            """)

    @Option(
        help: ArgumentHelp("The interpreter: a path, or a name that is looked for in PATH.", valueName: "program"),
        completion: .file())
    var python = "python3"

    @Option(
        help: ArgumentHelp(
            "A file or directory of this machine at a place in the guest (repeatable): /data/in.txt=in.txt.",
            valueName: "guest=host"),
        transform: FileItem.init(argument:))
    var file: [FileItem] = []

    @Option(
        name: .customLong("env"),
        help: ArgumentHelp("A variable of the script's environment (repeatable).", valueName: "name=value"))
    var variables: [String] = []

    @Argument(
        parsing: .captureForPassthrough,
        help: ArgumentHelp("The script and its arguments.", valueName: "script"), completion: .file())
    var command: [String] = []

    @OptionGroup(title: "Limits") var limits: ProgramLimits
    @OptionGroup(title: "Worker") var worker: WorkerOptions

    @Flag(help: "Start the interpreter anew, even if the worker has kept one.")
    var fresh = false

    @Flag(help: "Tell which system calls of the script nothing serves.")
    var verbose = false

    func validate() throws {
        // What a script is passed through without being looked at begins with its name.
        if let first = command.first, ["--help", "-h"].contains(first) { throw CleanExit.helpRequest(self) }
        guard !words.isEmpty else { throw ValidationError("Name a script: kvmjob python FILE ARGS.") }
        guard let first = command.first, first == "--" || !first.hasPrefix("-") else {
            throw ValidationError(
                "Unknown option '\(command[0])'. A script's name follows \"--\" if it looks like an option.")
        }
        if let wrong = variables.first(where: { !$0.contains("=") || $0.hasPrefix("=") || $0.utf8.contains(0) }) {
            throw ValidationError("--env: \"\(wrong)\" is no variable: write NAME=VALUE.")
        }
    }

    private var words: [String] { command.first == "--" ? Array(command.dropFirst()) : command }

    func run() async throws {
        let script = PythonScript(arguments: words, environment: variables, items: file)
        throw try await ExitCode(telling: .standard) {
            let choice = try worker.choice
            let program = WarmPython(
                interpreter: python, script: script, limits: limits, choice: choice, isFresh: fresh)
            return try await ProgramRun(program: program, console: .standard, isVerbose: verbose).run(on: choice)
        }
    }
}
