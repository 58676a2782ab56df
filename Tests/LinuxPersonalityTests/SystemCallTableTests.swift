// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import Testing

@testable import LinuxPersonality

@Suite struct SystemCallTableTests {
    @Test func `the table names each call once, and every call that is served`() throws {
        let named = SystemCallTable.rows.flatMap(\.calls)
        #expect(Set(named).count == named.count)
        for call in SystemCall.allCases {
            var caller = try Caller()
            let isServed = try caller.raw(call, []) != -38
            let isKnown = named.contains(call)
            let isRefused = SystemCallTable.rows.contains {
                $0.calls.contains(call) && $0.refused.hasPrefix("ENOSYS")
            }
            #expect(!isServed || isKnown, "\(call.name) is served and no row says so")
            #expect(isServed || !isKnown || isRefused, "\(call.name) is not served, and a row says that it is")
        }
    }

    @Test func `a call that is refused whatever it asks for is not served by anything`() throws {
        for (call, error) in RefusedCallRows.errors {
            var caller = try Caller()
            #expect(try caller.raw(call, []) == -Int(error.rawValue), "\(call.name)")
        }
    }

    /// After a change of the rows: `KVMJOB_WRITE_SYSTEM_CALLS=1 swift test --filter SystemCallTableTests`.
    @Test func `the page about system calls is what the rows say`() throws {
        let place = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "protocol/SYSTEM-CALLS.md")
        let page = SystemCallPage.text
        if ProcessInfo.processInfo.environment["KVMJOB_WRITE_SYSTEM_CALLS"] != nil {
            try Data(page.utf8).write(to: place)
        }
        let written = try String(contentsOf: place, encoding: .utf8)
        #expect(written == page, "protocol/SYSTEM-CALLS.md is not what the rows say: it is made anew as is said above")
    }
}

/// The documentation of all system calls, made from the rows.
private enum SystemCallPage {
    static var text: String {
        let served = SystemCallTable.rows.filter { !isRefused($0) }
        let refused = SystemCallTable.rows.filter(isRefused)
        let named = Set(SystemCallTable.rows.flatMap(\.calls))
        let others = SystemCall.allCases.filter { !named.contains($0) }
        return """
            # System calls of a Linux program

            <!-- Made by Tests/LinuxPersonalityTests/SystemCallTableTests.swift, which says how: not to be edited. -->

            What a program finds that runs as a guest of kvmjob, without a kernel: the worker serves its system calls itself.
            No call reaches a file, a network, a process or a clock of the worker's machine. A call does what Linux does, but
            for what is said here. Numbers and names are those of x86-64.

            | | calls |
            |---|---|
            | served | \(served.reduce(0) { $0 + $1.calls.count }) |
            | refused, whatever their arguments are | \(refused.reduce(0) { $0 + $1.calls.count }) |
            | unknown: `ENOSYS` | all others |

            ## Served

            | calls | what they do, where that is not all that Linux does | what they refuse |
            |---|---|---|
            \(served.map { "| \(names($0.calls)) | \($0.supported) | \($0.refused) |" }.joined(separator: "\n"))

            ## Refused

            | calls | error |
            |---|---|
            \(refused.map { "| \(names($0.calls)) | \($0.refused) |" }.joined(separator: "\n"))

            ## Unknown

            Every other number gives `ENOSYS`, and the job's result names it, so that whoever wonders why a program does not run
            finds out what it lacks. Of the calls that have a name these are: \(names(others)).

            """
    }

    private static func isRefused(_ row: CallRow) -> Bool { row.calls.allSatisfy { RefusedCallRows.errors[$0] != nil } }

    private static func names(_ calls: [SystemCall]) -> String {
        calls.map { "`\($0.name)`" }.joined(separator: ", ")
    }
}
