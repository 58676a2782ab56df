// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobStore
import Testing

@testable import kvmjobd

struct KeptJobsTests {
    private func options(_ arguments: String...) throws -> Options {
        guard case .run(let commandLine, checks: false) = try CommandLineParser.parse(arguments) else {
            throw Failure(status: .usage, message: "not a run")
        }
        return try Settings(commandLine).options
    }

    @Test func `what is kept, and for how long, can be set`() throws {
        #expect(try options().detached == DetachedLimits())
        #expect(try options().stateDirectory == nil)
        let set = try options(
            "--state-dir=/s", "--tenant-detached-jobs=7", "--tenant-detached-bytes=2MiB", "--detached-time=3h",
            "--detached-output=0")
        var limits = DetachedLimits()
        (limits.tenantJobs, limits.tenantBytes, limits.time, limits.output) = (7, 2 << 20, .seconds(3 * 3600), 0)
        #expect(set.detached == limits)
        #expect(set.stateDirectory == "/s")
    }

    @Test func `the store is opened where the options say, and left where something is wrong with it`() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "kvmjobd-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        let options = try options("--state-dir", folder.path, "--detached-time", "1s")
        do {
            let store = try #require(try KeptJobs.open(options)?.take())
            #expect(store.limits.time == .seconds(1))
            let failure = #expect(throws: Failure.self) { try KeptJobs.open(options) }
            #expect(failure?.status == .unusableState)
            let message = "detached jobs: another worker keeps its jobs in \(folder.path)/"
            #expect(failure?.message.hasPrefix(message) == true)
        }
        #expect(try KeptJobs.open(options) != nil)
    }
}
