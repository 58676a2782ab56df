// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import SeededRandom
import Testing

@testable import JobStore

/// A process that changes a store is killed at a moment of chance, again and again; each time the store is what its last commit made it.
@Suite struct KillTests {
    /// How often: 20 times, or `KVMJOB_STORE_KILLS`.
    static let kills = ProcessInfo.processInfo.environment["KVMJOB_STORE_KILLS"].flatMap { Int($0) } ?? 20
    static let seed = ProcessInfo.processInfo.environment["KVMJOB_STORE_SEED"].flatMap { UInt64($0) } ?? 1

    @Test func `what was committed survives the end of the process at any moment`() throws {
        let directory = try StateDirectory()
        var random = SplitMix64(state: Self.seed)
        var (model, undecided, committed) = (StoreModel(), 0, 0)
        for round in 0..<Self.kills {
            let lines = try Writer.run(
                directory.path, seed: random.next(), lines: Int.random(in: 0...150, using: &random),
                thenMicroseconds: UInt32.random(in: 0...3000, using: &random))
            let (before, pending) = try model.following(lines)
            committed += before.groups - model.groups
            let store = try directory.store()
            let found = try StoreModel.Content(store)
            if let pending, found != before.afterRestart().content {
                undecided += 1
                model = pending.afterRestart()
            } else {
                model = before.afterRestart()
            }
            #expect(found == model.content, "round \(round), seed \(Self.seed)")
            guard found == model.content else { return }
        }
        #expect(try directory.sqlite3("PRAGMA integrity_check; PRAGMA foreign_key_check") == "ok")
        // Both kinds of moments were met: much was committed, and the log says so.
        #expect(committed > Self.kills)
        print("store: \(Self.kills) kills, \(committed) groups committed, \(undecided) of them committed but not told")
    }
}

/// The process that is killed.
private enum Writer {
    static var program: URL {
        URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appendingPathComponent("store-writer")
    }

    /// Starts it, waits for so many lines and a little longer, kills it, and returns all lines that it wrote.
    static func run(_ directory: String, seed: UInt64, lines: Int, thenMicroseconds pause: UInt32) throws -> [String] {
        let (process, output) = (Process(), Pipe())
        process.executableURL = program
        process.arguments = [directory, String(seed)]
        process.standardOutput = output
        try process.run()
        let file = output.fileHandleForReading
        var text = Data()
        while text.count(where: { $0 == UInt8(ascii: "\n") }) < lines {
            let some = file.availableData
            if some.isEmpty { break }
            text += some
        }
        // Not a wait for anything: the moment of the kill is what is being drawn.
        usleep(pause)
        kill(process.processIdentifier, SIGKILL)
        text += file.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGKILL)
        return String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}

/// What the writer's lines say there should be.
private struct StoreModel {
    struct Job: Hashable {
        var state = DetachedJob.State.waiting
        var run: UInt32 = 0
        var cuts: UInt32 = 0
        var input: [UInt8] = []
        var output: [UInt8] = []
        var result: [UInt8]?
    }

    /// What can be read from a store.
    struct Content: Hashable {
        var jobs: [UInt64: Job] = [:]

        init() {}

        init(_ store: JobStore) throws {
            for listed in try store.list(nil, limit: .max) {
                let kept = try #require(try store.job(listed.id))
                let submission = try #require(try store.submission(of: listed.id))
                if listed.state != .ended {
                    let digest = try #require(submission.blobs.first)
                    #expect(try store.blob(digest, of: listed.tenant) == digest.bytes + [1, 2, 3])
                }
                jobs[listed.id] = Job(
                    state: listed.state, run: listed.run, cuts: kept.cuts, input: submission.input,
                    output: try store.text(of: listed.id, .console, limit: 1 << 20),
                    result: try store.result(of: listed.id))
            }
        }
    }

    var content = Content()
    var groups = 0

    /// The store as of the last group that was reported as committed; and as of the next, where that was being committed.
    func following(_ lines: [String]) throws -> (committed: StoreModel, pending: StoreModel?) {
        var (committed, current, isCommitting) = (self, self, false)
        for line in lines {
            switch line {
            case "open": break
            case "committing": isCommitting = true
            case "committed":
                current.groups += 1
                (committed, isCommitting) = (current, false)
            default: try current.apply(line.split(separator: " ").map(String.init))
            }
        }
        return (committed, isCommitting ? current : nil)
    }

    private mutating func apply(_ words: [String]) throws {
        let id = try #require(UInt64(words[1]))
        switch words[0] {
        case "add":
            content.jobs[id] = Job(input: Self.output(of: id, run: 0, from: 0, count: try #require(Int(words[2]))))
        case "start": try change(id) { ($0.state, $0.run) = (.running, $0.run + 1) }
        case "append":
            let count = try #require(Int(words[2]))
            try change(id) { job in
                job.output += Self.output(of: id, run: job.run, from: UInt64(job.output.count), count: count)
            }
        case "finish":
            let result = Self.output(of: id, run: 9, from: 0, count: 100)
            try change(id) { ($0.state, $0.input, $0.result) = (.ended, [], result) }
        default:
            #expect(words[0] == "forget")
            content.jobs[id] = nil
        }
    }

    private mutating func change(_ id: UInt64, _ change: (inout Job) -> Void) throws {
        var job = try #require(content.jobs[id])
        change(&job)
        content.jobs[id] = job
    }

    /// Jobs that ran wait again.
    func afterRestart() -> StoreModel {
        var after = self
        for (id, job) in content.jobs where job.state == .running {
            var job = job
            (job.state, job.cuts, job.output) = (.waiting, job.cuts + 1, [])
            after.content.jobs[id] = job
        }
        return after
    }

    /// The same bytes that the writer makes.
    private static func output(of id: UInt64, run: UInt32, from start: UInt64, count: Int) -> [UInt8] {
        let place = Int((start &+ id &* 31 &+ UInt64(run) &* 7) % UInt64(period))
        return Array(pattern[place..<place + count])
    }

    private static let period = 65_521
    private static let pattern = (0..<period + 100_000).map {
        UInt8(truncatingIfNeeded: ($0 % period &* 0x9E37_79B9) >> 3)
    }
}
