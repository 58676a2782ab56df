// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser

/// `kvmjob run`: runs a Linux program in a virtual machine, as if it were started here.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run a Linux program in a virtual machine of its own.",
        discussion: """
            The program runs as it is, without a kernel of its own: the worker serves its system calls. It sees the files that it \
            brings, a clock and its standard streams, and nothing of this machine: no other files, no network, no processes. What it \
            needs to start, its interpreter and libraries, comes along from this machine. Standard input, output and error are this \
            command's own, live. Ctrl-C stops the program; a second one ends this command at once.

            Exit status: the program's; 128 and the signal's number where a signal ended it, such as 139 for a segmentation fault, or \
            130 for Ctrl-C; 124 if a budget ended it; 125 for a fault of kvmjob or the host; 126 if the program cannot be run or was \
            refused; 127 if it was not found.

            Example: echo data | kvmjob run -- sha256sum
            """)

    @OptionGroup(title: "Program") var program: ProgramOptions
    @OptionGroup(title: "Limits") var limits: ProgramLimits
    @OptionGroup(title: "Worker") var worker: WorkerOptions
    @OptionGroup(title: "Detaching") var detaching: DetachOptions

    @Flag(help: "With --detach, print a JSON object instead of the job's number.")
    var json = false

    @Flag(help: "Tell what was left out of the files, and which system calls of the program nothing serves.")
    var verbose = false

    func validate() throws {
        guard detaching.detach || !json else {
            throw ValidationError("--json goes with --detach: else standard output is the program's.")
        }
    }

    func run() async throws {
        if detaching.detach { return try await handOver() }
        let program = FreshProgram(options: program, limits: limits)
        var run = ProgramRun(program: program, console: .standard, isVerbose: verbose)
        run.hint = ProgramHint(words: self.program.words, hasRoot: self.program.root != nil)
        throw try await ExitCode(telling: .standard) { [run] in try await run.run(on: try worker.choice) }
    }

    private func handOver() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let handOver = HandOver(key: detaching.key, isJSON: json, console: console)
            return try await handOver.run(program, limits, on: try worker.choice.forDetaching())
        }
    }
}
