// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import ArgumentParser
import Foundation
import Testing

@testable import kvmjob

@Suite struct RemoteHostTests {
    @Test func `all parts are optional but the machine`() throws {
        let all = try RemoteHost("ssh://ann@build.example:2222/run/my kvmjob.sock")
        #expect(all.user == "ann" && all.machine == "build.example" && all.port == 2222)
        #expect(all.socketPath == "/run/my kvmjob.sock")
        let one = try RemoteHost("ssh://box/")
        #expect(one.user == nil && one.machine == "box" && one.port == nil && one.socketPath == nil)
        let six = try RemoteHost("ssh://[fe80::1%eth0]:22")
        #expect(six.machine == "fe80::1%eth0" && six.port == 22)
        let domain = try RemoteHost("ssh://ann@corp.example@box")
        #expect(domain.user == "ann@corp.example" && domain.machine == "box")
    }

    @Test(arguments: ["ssh://ann@build:2222/run/k.sock", "ssh://box", "ssh://[::1]:22", "ssh://[::1]/s"])
    func `it is written as it was read`(url: String) throws {
        #expect(try RemoteHost(url).url == url)
    }

    @Test(
        arguments: [
            ("box", "write ssh://"), ("http://box", "write ssh://"), ("ssh://", "machine's name"),
            ("ssh://-oProxyCommand=x", "begins with no hyphen"), ("ssh://-l@box", "user's name"),
            ("ssh://box;id", "machine's name"), ("ssh://$(id)@box", "user's name"), ("ssh://a b", "machine's name"),
            ("ssh://ann:secret@box", "passwords"), ("ssh://@box", "user's name"), ("ssh://box:", "1 to 65535"),
            ("ssh://box:0", "1 to 65535"), ("ssh://box:65536", "1 to 65535"), ("ssh://box:+22", "1 to 65535"),
            ("ssh://[::1", "machine's name"), ("ssh://[::1]22", "in brackets"), ("ssh://[-1]", "in brackets"),
            ("ssh://box/a%20b", "as it is"), ("ssh://box/a?b", "as it is"), ("ssh://box/a\nb", "as it is"),
        ])
    func `what ssh or a shell could take for something else is refused`(text: String, advice: String) {
        let error = #expect(throws: ValueError.self) { try RemoteHost(text) }
        #expect(error?.description.contains(advice) == true, "\(String(describing: error))")
    }

    @Test func `ssh gets the machine behind its options, and the far shell one quoted path`() throws {
        let command = try RemoteHost("ssh://ann@box:2222/run/it's $HOME.sock").command
        #expect(command.first == "ssh")
        #expect(command.suffix(7).prefix(6) == ["-l", "ann", "-p", "2222", "--", "box"])
        #expect(command.last == #"kvmjob dial-stdio --socket '/run/it'\''s $HOME.sock'"#)
        #expect(try RemoteHost("ssh://box").command.suffix(3) == ["--", "box", "kvmjob dial-stdio"])
    }

    @Test(arguments: ["", "plain", "it's", "''", "$(id) `id` \\ \"x\" *"])
    func `a quoted word is that word to a real shell`(word: String) throws {
        let shell = Process()
        let output = Pipe()
        shell.executableURL = URL(fileURLWithPath: "/bin/sh")
        shell.arguments = ["-c", "printf '<%s>' \(ShellWord.inQuotes(word)) \(ShellWord.quoted(word))"]
        shell.standardOutput = output
        try shell.run()
        let printed = try output.fileHandleForReading.readToEnd() ?? Data()
        shell.waitUntilExit()
        #expect(String(decoding: printed, as: UTF8.self) == "<\(word)><\(word)>")
    }
}

@Suite struct LeadingOptionsTests {
    @Test func `options of the worker may stand before the subcommand`() {
        #expect(
            LeadingOptions.moved(["--host", "ssh://box", "submit", "a", "--json"])
                == ["submit", "--host", "ssh://box", "a", "--json"])
        #expect(LeadingOptions.moved(["--socket=/s", "ps"]) == ["ps", "--socket=/s"])
        #expect(LeadingOptions.moved(["--embedded", "run", "--", "ls"]) == ["run", "--embedded", "--", "ls"])
    }

    @Test(arguments: [
        ["submit", "--host", "x"], ["--help"], ["--host"], ["--host", "x"], ["--host", "x", "--version"], [],
    ])
    func `a line without a subcommand behind them stays as it is`(words: [String]) {
        #expect(LeadingOptions.moved(words) == words)
    }

    @Test func `the parser then finds the machine`() throws {
        let words = LeadingOptions.moved(["--host", "ssh://box", "submit", "--hex", "f4"])
        let command = try #require(try KVMJobCommand.parseAsRoot(words) as? SubmitCommand)
        #expect(try command.worker.choice == .remote(RemoteHost("ssh://box")))
    }

    @Test(arguments: [["--socket", "/s"], ["--embedded"]])
    func `a machine and another worker exclude each other`(others: [String]) {
        #expect(throws: (any Error).self) {
            try KVMJobCommand.parseAsRoot(["submit", "--hex", "f4", "--host", "ssh://box"] + others)
        }
    }
}

@Suite struct RemoteFailureTests {
    @Test(
        arguments: [
            (Int32(255), "\"ssh -p 22 ann@box true\" has to work first"), (127, "install it there"),
            (126, "cannot be executed"), (125, "start kvmjobd.socket on box"), (64, "is too old"),
        ])
    func `each status of ssh says what to do`(status: Int32, advice: String) throws {
        let host = try RemoteHost("ssh://ann@box:22")
        #expect(RemoteFailure(status: status)?.advice(host).contains(advice) == true)
    }

    @Test func `other statuses say nothing of their own`() {
        for status: Int32 in [0, 1, 130, 143] { #expect(RemoteFailure(status: status) == nil) }
    }
}

@Suite struct DialCommandTests {
    @Test func `the far end takes the option, else that machine's variable, else the service's place`() throws {
        let named = try #require(try KVMJobCommand.parseAsRoot(["dial-stdio", "--socket", "/s"]) as? DialCommand)
        #expect(named.path(environment: ["KVMJOB_SOCKET": "/v"]) == "/s")
        let plain = try #require(try KVMJobCommand.parseAsRoot(["dial-stdio"]) as? DialCommand)
        #expect(plain.path(environment: ["KVMJOB_SOCKET": "/v"]) == "/v")
        #expect(plain.path(environment: ["KVMJOB_SOCKET": ""]) == WorkerChoice.defaultPath)
    }
}
