// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import Systemd
import TOML
import Testing

@testable import kvmjobd

/// What is made from the table of options, and from the kinds of event, says the same everywhere.
struct OptionTableTests {
    private func repositoryFile(_ path: String) throws -> String {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    @Test func `the installed settings file is what kvmjobd prints`() throws {
        // Anew: .build/debug/kvmjobd --print-default-config >deploy/kvmjobd.conf
        #expect(try repositoryFile("deploy/kvmjobd.conf") == SettingsFile.template + "\n")
    }

    @Test func `the installed settings file sets nothing, and every line in it could be used`() throws {
        let text = SettingsFile.template
        #expect(try SettingsFile(path: "t", document: TOMLDocument(Array(text.utf8))).entries.isEmpty)
        let used = text.split(separator: "\n").map { line in
            OptionRule.all.contains { line.hasPrefix("#\($0.key) = ") } ? line.dropFirst() : line
        }
        let file = try SettingsFile(path: "t", document: TOMLDocument(Array(used.joined(separator: "\n").utf8)))
        #expect(file.entries.count == OptionRule.all.count)
    }

    @Test func `keys are unique, and what they hold is told`() {
        #expect(Set(OptionRule.all.map(\.key)).count == OptionRule.all.count)
        for rule in OptionRule.all {
            #expect(rule.key.allSatisfy { $0.isLowercase || $0 == "-" }, "\(rule.key)")
            #expect(HelpText.whole.contains("  \(rule.name) \(rule.placeholder)\n"), "\(rule.key)")
            #expect(!rule.help.isEmpty && !rule.usual.isEmpty && !rule.wanted.isEmpty, "\(rule.key)")
        }
    }

    @Test func `no line of the help is wider than a terminal of 90 columns`() {
        for line in HelpText.whole.split(separator: "\n") { #expect(line.count < 90, "\(line)") }
    }

    @Test func `the help for programs is JSON with every option`() throws {
        let json = try JSONSerialization.jsonObject(with: Data(HelpJSON.whole.utf8)) as? [String: Any]
        let sections = try #require(json?["sections"] as? [[String: Any]])
        let options = sections.flatMap { $0["options"] as? [[String: String]] ?? [] }
        #expect(options.map { $0["key"] } == OptionRule.all.map(\.key))
        #expect((json?["statuses"] as? [Any])?.count == ExitStatus.allCases.count)
        #expect((json?["switches"] as? [Any])?.count == Switch.all.count)
    }

    @Test func `quotes hold what JSON and TOML read back`() throws {
        let text = String(String.UnicodeScalarView((0..<0x250).compactMap(Unicode.Scalar.init))) + "\u{1F600}"
        let json = try JSONSerialization.jsonObject(with: Data("[\(QuotedText.of(text))]".utf8)) as? [String]
        #expect(json == [text])
        let toml = try TOMLDocument(Array("text = \(QuotedText.of(text))".utf8))
        #expect(toml.entries.map(\.value) == [.string(text)])
    }

    @Test func `an unknown switch, a value left out and a setting given twice are mistakes of usage`() {
        for (arguments, part) in [
            (["--bogus"], "there is no option --bogus"), (["x"], "\"x\": kvmjobd takes options only"),
            (["--config"], "--config needs a value: a path"),
            (["--config", "a", "--config=b"], "--config is given twice"),
            (["--slots=1", "--slots", "1"], "--slots is given twice"), (["--memory", "1"], "not \"1\""),
        ] {
            #expect {
                try CommandLineParser.parse(arguments)
            } throws: { error in
                guard let failure = error as? Failure else { return false }
                return failure.status == .usage && failure.message.contains(part)
            }
        }
    }

    @Test func `the journal's catalog has a text for every kind of event, and for nothing else`() throws {
        let catalog = try repositoryFile("deploy/kvmjob.catalog")
        let identifiers = catalog.split(separator: "\n").filter { $0.hasPrefix("-- ") }.map { $0.dropFirst(3) }
        #expect(identifiers.sorted() == EventID.allCases.map { $0.messageID[...] }.sorted())
    }

    @Test func `the catalog speaks of fields that the worker writes`() throws {
        let catalog = try repositoryFile("deploy/kvmjob.catalog")
        let sources = try ["Sources/Worker", "Sources/kvmjobd"].flatMap { folder in
            let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().appending(path: folder)
            return try FileManager.default.subpathsOfDirectory(atPath: root.path).filter { $0.hasSuffix(".swift") }
                .map { try String(contentsOf: root.appending(path: $0), encoding: .utf8) }
        }.joined()
        let fields = catalog.matches(of: /@(KVMJOB_[A-Z_]+)@/).map { $0.1.lowercased() }
        #expect(!fields.isEmpty)
        for field in Set(fields) {
            // The prefix is optional in the sources.
            let key = String(field.dropFirst("kvmjob_".count))
            #expect(sources.contains("\"\(field)\"") || sources.contains("\"\(key)\""), "no record has \(field)")
        }
    }
}
