// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import Testing

@testable import kvmjobd

struct KeptJobsTests {
    private func options(_ arguments: String...) throws -> Options {
        guard case .run(let commandLine, checks: false) = try CommandLineParser.parse(arguments) else {
            throw Failure(status: .usage, message: "not a run")
        }
        return try Settings(commandLine).options
    }

    @Test func `the store is opened where the options say, and left where something is wrong with it`() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "kvmjobd-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        let options = try options("--state-dir", folder.path)
        withExtendedLifetime(try #require(try KeptJobs.open(options))) {
            let failure = #expect(throws: Failure.self) { try KeptJobs.open(options) }
            #expect(failure?.status == .unusableState)
            let message = "detached jobs: another worker keeps its jobs in \(folder.path)/"
            #expect(failure?.message.hasPrefix(message) == true)
        }
        #expect(try KeptJobs.open(options) != nil)
    }
}
