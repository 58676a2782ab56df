// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import kvmjob

@Suite struct RunLineTests {
    private static let many = (0..<200).map { ["--memory", "--", "-x", "word\($0)", ""][$0 % 5] }

    @Test(arguments: [
        ["--memory", "1MiB", "ls"], ["--", "ls"], ["ls", "--"], ["--verbose", "--env", "A=B", "--", "-ls"],
        (0..<100).flatMap { ["--env", "A\($0)=\($0)"] } + ["--seed=5", "ls"],
        (0..<40).flatMap { ["--env", "A\($0)=\($0)"] } + ["--", "ls", "--help"],
    ])
    func `a long line is taken as the parser takes it`(beginning: [String]) throws {
        let words = beginning + Self.many
        let whole = try RunCommand.parse(words)
        let short = try #require(RunLine.command(of: ["run"] + words))
        #expect(short.program.command == whole.program.command)
        #expect(short.program.variables == whole.program.variables)
        #expect(short.limits.memory == whole.limits.memory && short.limits.seed == whole.limits.seed)
        #expect(short.verbose == whole.verbose)
        #expect(short.program.name.hasSuffix("ls"))
    }

    @Test func `short lines, wrong ones, other commands and help are the parser's`() {
        #expect(RunLine.command(of: ["run", "--", "ls"]).map { _ in true } == nil)
        #expect(RunLine.command(of: ["run", "--bogus", "ls"] + Self.many).map { _ in true } == nil)
        #expect(RunLine.command(of: ["run", "--help", "ls"] + Self.many).map { _ in true } == nil)
        #expect(RunLine.command(of: ["submit", "--hex", "f4"] + Self.many).map { _ in true } == nil)
        #expect(RunLine.command(of: ["run"] + [String](repeating: "--verbose", count: 200)).map { _ in true } == nil)
    }

    /// The parser alone takes hours for them.
    @Test(.timeLimit(.minutes(1))) func `a hundred thousand arguments take no time`() throws {
        let words = ["run", "--", "echo"] + (0..<100_000).map { "\($0)" }
        let run = try #require(RunLine.command(of: words))
        #expect(run.program.command.count == 100_002 && run.program.command.last == "99999")
    }
}
