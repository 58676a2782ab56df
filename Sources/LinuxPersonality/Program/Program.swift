// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a process is to execute, as `execve` takes it.
public struct Program: Sendable {
    /// The most bytes of arguments and environment together, each with its closing zero and its pointer: 128 KiB, half of the stack that
    /// is there from the start.
    public static let argumentBytesLimit = 128 << 10
    /// The most interpreters of scripts that lead to each other: 4, as Linux follows.
    static let scriptLimit = 4
    /// The first bytes of a script in which its interpreter must be named: 256, `BINPRM_BUF_SIZE`.
    static let scriptLineBytes = 256

    /// Where it is in the job's files.
    public var path: [UInt8]
    /// What `/proc/self/comm` calls it: the last part of the path, at most 15 bytes of it. A script keeps its own.
    private(set) var name: [UInt8]
    /// `argv`, the first of which is the program's name.
    public var arguments: [[UInt8]]
    /// `envp`, such as "HOME=/".
    public var environment: [[UInt8]]

    /// A program with its parts; strings end before their first zero.
    public init(path: [UInt8], arguments: [[UInt8]], environment: [[UInt8]] = []) {
        let whole: ([UInt8]) -> [UInt8] = { Array($0.prefix { $0 != 0 }) }
        self.path = whole(path)
        name = Array((self.path.split(separator: UInt8(ascii: "/")).last ?? []).prefix(15))
        (self.arguments, self.environment) = (arguments.map(whole), environment.map(whole))
    }

    /// Bytes that the arguments and the environment take on the stack.
    var argumentBytes: Int { (arguments + environment).reduce(0) { $0 + $1.count + 1 + 8 } }

    /// What runs a script that begins with these bytes, or nil for what is no script: `#!` and the rest of the line.
    func interpreter(of script: ArraySlice<UInt8>) -> Program? {
        guard script.starts(with: Array("#!".utf8)) else { return nil }
        let line = script.dropFirst(2).prefix { $0 != UInt8(ascii: "\n") && $0 != 0 }
        let isBlank: (UInt8) -> Bool = { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
        let words = line.drop(while: isBlank)
        let name = words.prefix { !isBlank($0) }
        guard !name.isEmpty else { return nil }
        // All that follows is one argument.
        let rest = words.dropFirst(name.count).drop(while: isBlank)
        let trimmed = rest.prefix(rest.count - rest.reversed().prefix(while: isBlank).count)
        let option = trimmed.isEmpty ? [] : [Array(trimmed)]
        var program = Program(
            path: Array(name), arguments: [Array(name)] + option + [path] + arguments.dropFirst(),
            environment: environment)
        program.name = self.name
        return program
    }
}

/// Why a program cannot be started.
public struct ProgramError: Error, Sendable, Hashable {
    /// What `execve` would say, by its name in `errno.h`.
    public let code: String
    /// What is wrong, for people.
    public let message: String

    init(_ error: Errno, _ message: String) { (code, self.message) = (error.name, message) }
}
