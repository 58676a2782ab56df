// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import TOML
import Testing

@testable import kvmjobd

struct SettingsFileTests {
    private func file(_ text: String) throws -> SettingsFile {
        try SettingsFile(path: "k.conf", document: TOMLDocument(Array(text.utf8)))
    }

    private func mistakes(_ text: String) -> [String] {
        do {
            _ = try file(text)
            return []
        } catch let error as SettingsFile.Mistakes {
            return error.sentences
        } catch {
            return ["\(error)"]
        }
    }

    private func settings(_ text: String, _ arguments: String...) throws -> Settings {
        guard case .run(let commandLine, _) = try CommandLineParser.parse(arguments) else { throw CancellationError() }
        return try Settings(commandLine, file(text))
    }

    @Test func `every option has its value from the file`() throws {
        let options = try settings(
            """
            socket = "/run/x"
            slots = 3
            machines = "tenant"
            idle-exit = "10m"
            drain-timeout = "200ms"
            spin = "200us"
            operators = ["root", 1000]
            confine = "require"
            log-jobs = "none"
            log-target = "stderr"
            connections = 7
            queued-jobs = 8
            memory = "2GiB"
            bytes-in-flight = "1GiB"
            image-cache = "0"
            pause-time = "1h"
            max-paused = 9
            tenant-queued-jobs = 10
            tenant-running-jobs = 11
            tenant-memory = "120MiB"
            tenant-bytes-in-flight = "1025KiB"
            tenant-image-cache = "14MiB"
            tenant-connections = 15
            state-dir = "/s"
            tenant-detached-jobs = 16
            tenant-detached-bytes = "17MiB"
            detached-time = "18h"
            detached-output = "0"
            """
        ).options
        #expect(options.socketPath == "/run/x")
        #expect(options.slots == 3)
        #expect(options.machines == .tenant)
        #expect(options.idleExit == .seconds(600))
        #expect(options.drainTimeout == .milliseconds(200))
        #expect(options.spin == .microseconds(200))
        #expect(options.operators == [0, 1000])
        #expect(options.confinement == .require)
        #expect(options.jobLogging == .none)
        #expect(options.logTarget == .stderr)
        #expect(options.connections == 7)
        #expect(options.queuedJobs == 8)
        #expect(options.memory == 2 << 30)
        #expect(options.bytesInFlight == 1 << 30)
        #expect(options.imageCache == 0)
        #expect(options.pauseTime == .seconds(3600))
        #expect(options.pausedJobs == 9)
        #expect(options.tenant.queuedJobs == 10)
        #expect(options.tenant.runningJobs == 11)
        #expect(options.tenant.memory == 120 << 20)
        #expect(options.tenant.bytesInFlight == 1025 << 10)
        #expect(options.tenant.imageCache == 14 << 20)
        #expect(options.tenant.connections == 15)
        #expect(options.stateDirectory == "/s")
        #expect(options.detached.tenantJobs == 16)
        #expect(options.detached.tenantBytes == 17 << 20)
        #expect(options.detached.time == .seconds(18 * 3600))
        #expect(options.detached.output == 0)
    }

    @Test func `the test above names every option`() throws {
        let source = try String(contentsOfFile: #filePath, encoding: .utf8)
        for rule in OptionRule.all { #expect(source.contains("\n            \(rule.key) = "), "\(rule.key)") }
    }

    @Test(arguments: [
        ("slots = 0", "k.conf:1: slots takes a number from 1 to 128, not 0"),
        ("\n# x\nslots = 129", "k.conf:3: slots takes a number from 1 to 128, not 129"),
        (
            "slots = \"8\"",
            "k.conf:1: slots takes an integer: a number from 1 to 128; not the string \"8\""
        ),
        ("slots = 1.5", "k.conf:1: slots takes an integer: a number from 1 to 128; not a number with a fraction"),
        ("slots = true", "k.conf:1: slots takes an integer: a number from 1 to 128; not a boolean"),
        ("slots = 2026-11-23", "k.conf:1: slots takes an integer: a number from 1 to 128; not a date or time"),
        (
            "idle-exit = 10",
            "k.conf:1: idle-exit takes a string in quotes: a time such as 500ms, 45s, 10m or 2h, at most a year; "
                + "not the integer 10"
        ),
        (
            "image-cache = \"64 MB\"",
            "k.conf:1: image-cache takes a size such as 64MiB or 2GiB, from 0 to 64GiB, not \"64 MB\""
        ),
        (
            "image-cache = \"17179869184GiB\"",
            "k.conf:1: image-cache takes a size such as 64MiB or 2GiB, from 0 to 64GiB, not \"17179869184GiB\""
        ),
        (
            "memory = \"65535KiB\"",
            "k.conf:1: memory takes a size such as 64MiB or 2GiB, from 64MiB to 16384GiB, not \"65535KiB\""
        ),
        ("machines = \"shared\"", "k.conf:1: machines takes pooled, tenant or fresh, not \"shared\""),
        ("socket = \"\"", "k.conf:1: socket takes a path, not \"\""),
        (
            "operators = [\"root\", \"no such user\"]",
            "k.conf:1: operators takes names of users of this machine, or their numbers, not \"no such user\""
        ),
        (
            "operators = [4294967295]",
            "k.conf:1: operators takes names of users of this machine, or their numbers, not \"4294967295\""
        ),
        (
            "operators = \"root\"",
            "k.conf:1: operators takes an array such as [\"alice\", 1000]: names of users of this machine, or their "
                + "numbers; not the string \"root\""
        ),
        (
            "operators = [\"root,1\"]",
            "k.conf:1: operators takes an array such as [\"alice\", 1000]: names of users of this machine, or their "
                + "numbers; not such an array"
        ),
        ("idle_exit = \"1m\"", "k.conf:1: idle_exit is no setting of kvmjobd: did you mean idle-exit?"),
        ("\"--slots\" = 1", "k.conf:1: --slots is no setting of kvmjobd: did you mean slots?"),
        (
            "[worker]\nslots = 1",
            "k.conf:1: worker is no setting of kvmjobd: kvmjobd --print-default-config prints all that are"
        ),
    ])
    func `a mistake is named with file, line and key`(text: String, sentence: String) {
        #expect(mistakes(text) == [sentence])
    }

    @Test func `every mistake is named, in the order of the file`() {
        #expect(
            mistakes("zzzzzzzz = 1\nslots = 0\nconnections = 0").map { String($0.prefix(9)) } == [
                "k.conf:1:", "k.conf:2:", "k.conf:3:",
            ])
    }

    @Test(arguments: [
        ("slots = ", 1), ("slots = 1\nslots = 2", 2), ("a = 1\nslots 3", 2), ("slots = \"\u{1}\"", 1),
    ])
    func `what is no TOML is told with its line`(text: String, line: Int) throws {
        #expect {
            try TOMLDocument(Array(text.utf8))
        } throws: { error in
            guard case .syntax(let message, line) = error as? TOMLError else { return false }
            return !message.isEmpty
        }
    }

    @Test func `bytes that are no text, and zero bytes, are mistakes too`() {
        for byte: UInt8 in [0xff, 0] {
            #expect(throws: TOMLError.self) { try TOMLDocument(Array("slots = 1 # ".utf8) + [byte] + Array("\n".utf8)) }
        }
    }

    @Test func `a document may have as many bytes as are allowed, and no more`() throws {
        let most = Array(repeating: UInt8(ascii: "\n"), count: TOMLDocument.maximumBytes)
        #expect(try TOMLDocument(most).entries == [])
        #expect(throws: TOMLError.tooLong(limit: TOMLDocument.maximumBytes)) { try TOMLDocument(most + [10]) }
    }

    @Test func `deep nesting is an error of the document`() {
        let text = "operators = " + String(repeating: "[", count: 20_000)
        #expect(throws: TOMLError.self) { try TOMLDocument(Array(text.utf8)) }
    }

    @Test(arguments: [
        ("/no/such/file", "/no/such/file: there is no such file"), ("/etc", "/etc is a directory; a file is wanted"),
        ("/dev/zero", "/dev/zero is longer than 65536 bytes"),
    ])
    func `a file that cannot be read says why`(path: String, sentence: String) {
        #expect {
            try SettingsFile(path: path)
        } throws: {
            ($0 as? SettingsFile.Mistakes)?.sentences == [sentence]
        }
    }

    @Test func `the command line wins over the file, and each setting knows where it comes from`() throws {
        let settings = try settings("slots = 2\nconnections = 9\n", "--slots", "5")
        #expect(settings.options.slots == 5)
        #expect(settings.options.connections == 9)
        let report = settings.report.split(separator: "\n")
        #expect(report.contains("slots = 5  # command line"))
        #expect(report.contains("connections = 9  # k.conf:2"))
        #expect(report.contains("machines = \"pooled\"  # default"))
        #expect(report.contains("# idle-exit is not set: stay"))
        #expect(report.count == OptionRule.all.count)
    }

    @Test func `what --check-config prints is a settings file that says the same`() throws {
        let first = try settings(
            "operators = [1, 2]\nidle-exit = \"90s\"\nsocket = \"a\\\"b\\\\\\t\"\ntenant-bytes-in-flight = \"1536KiB\"")
        let second = try settings(first.report)
        func values(_ settings: Settings) -> [String?] { OptionRule.all.map { $0.show(settings.options) } }
        #expect(values(first) == values(second))
        #expect(second.options.socketPath == "a\"b\\\t")
    }
}
