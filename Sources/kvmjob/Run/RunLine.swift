// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser

/// The command line of `kvmjob run`, which may have thousands of words that are the program's own.
///
/// The parser looks at each of those again for each that it has seen. So it gets the line's beginning alone, as far as the program's
/// name at least: all that follows that is taken as it is.
enum RunLine {
    /// A line of so many words is left to the parser.
    static let shortWords = 64

    /// What a long line asks for; nil for one that is short, asks for something else, or is wrong: the parser then says what it is about.
    ///
    /// - Parameter words: without the name of this command itself.
    static func command(of words: [String]) -> RunCommand? {
        guard words.first == RunCommand.configuration.commandName else { return nil }
        var count = shortWords
        while count < words.count {
            // A beginning in which the program's name is missing is wrong by itself.
            if let parsed = try? KVMJobCommand.parseAsRoot(Array(words.prefix(count))), var run = parsed as? RunCommand
            {
                run.program.command += words.dropFirst(count)
                return run
            }
            count *= 2
        }
        return nil
    }
}
