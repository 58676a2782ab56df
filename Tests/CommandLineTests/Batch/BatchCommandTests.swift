// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import kvmjob

@Suite struct BatchCommandTests {
    private func mistake(_ words: String) -> String? {
        do {
            _ = try BatchCommand.parse(["jobs.jsonl"] + words.split(separator: " ").map(String.init))
            return nil
        } catch {
            return BatchCommand.message(for: error)
        }
    }

    @Test(arguments: [
        ("--resume", "--resume is about the file of --out: name it."),
        ("--html page.html", "--html is made of the file of --out: name it."),
        ("--out r --force --resume", "--force drops what --resume needs."),
        ("--jobs 0", "--jobs takes 1 or more."), ("--retry 1001", "--retry takes 0 to 1000."),
        ("--detach --attach --socket /s", "--detach returns at once, and --attach with the results: one of the two."),
        ("--detach --via slurm", "--detach goes not with --via"),
        ("--attach --via slurm", "--attach goes not with --via"),
        ("--detach --output-dir d --socket /s", "--output-dir and --html go with --attach."),
    ])
    func `what contradicts itself is refused before anything runs`(words: String, text: String) {
        #expect(mistake(words)?.contains(text) == true, "\(mistake(words) ?? "taken")")
    }

    @Test(arguments: [
        "--detach --socket /s", "--attach --socket /s --out r --resume", "--out r --only-failed --html p",
    ])
    func `what goes together is taken`(words: String) { #expect(mistake(words) == nil) }
}
