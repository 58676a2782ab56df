// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc
import JobModel
import JobStore
import SeededRandom

/// A worker's store, alone in a process that somebody will kill: it changes jobs by chance, and says on standard output what it is
/// about to commit and what it has committed, each line by a write(2) of its own.
///
///     store-writer DIRECTORY SEED
///
///     add ID SIZE       a job with as many bytes of input
///     start ID RUN
///     append ID COUNT   bytes of output, as ``StoreWriter/output(of:run:from:count:)`` has them
///     finish ID
///     forget ID
///     committing        the lines since the last "committed" are one group
///     committed
@main
struct StoreWriter {
    var store: JobStore
    var random: SplitMix64
    var waiting: [UInt64] = []
    var running: [UInt64: (run: UInt32, bytes: UInt64)] = [:]
    var ended: [UInt64] = []

    static func main() throws {
        var writer = try StoreWriter(
            directory: CommandLine.arguments[1], seed: UInt64(CommandLine.arguments[2]) ?? 0)
        say("open")
        while true {
            for _ in 0...Int.random(in: 0..<12, using: &writer.random) { try writer.change() }
            say("committing")
            try writer.store.commit()
            say("committed")
        }
    }

    init(directory: String, seed: UInt64) throws {
        store = try JobStore(directory: directory)
        random = SplitMix64(state: seed)
        let worn = Set(try store.worn().map(\.job.id))
        for job in try store.list(nil, limit: .max) where !worn.contains(job.id) {
            if job.state == .waiting { waiting.append(job.id) } else { ended.append(job.id) }
        }
    }

    mutating func change() throws {
        switch Int.random(in: 0..<10, using: &random) {
        case 0, 1: try add()
        case 2, 3: try start()
        case 4, 5, 6, 7: try append()
        case 8: try finish()
        default: if ended.count > 20 { try forget() }
        }
    }

    mutating func add() throws {
        let id = try store.highestID() + 1
        let digest = ContentDigest([UInt8](repeating: UInt8.random(in: 0..<4, using: &random), count: 32))
        guard let digest else { return }
        var job = NewJob(id: id, tenant: .user(UInt32.random(in: 1...3, using: &random)), submissionDigest: digest)
        let size = Int.random(in: 0..<20_000, using: &random)
        job.input = Self.output(of: id, run: 0, from: 0, count: size)
        job.blobs = [NewJob.Blob(digest: digest, bytes: digest.bytes + [1, 2, 3])]
        guard try store.add(job) == .added else { return }
        waiting.append(id)
        Self.say("add \(id) \(size)")
    }

    mutating func start() throws {
        guard running.count < 4, let id = waiting.randomElement(using: &random) else { return }
        waiting.removeAll { $0 == id }
        guard let run = try store.noteStart(id) else { return }
        running[id] = (run, 0)
        Self.say("start \(id) \(run)")
    }

    mutating func append() throws {
        guard let id = running.keys.sorted().randomElement(using: &random), let now = running[id] else { return }
        let count = Int.random(in: 1..<100_000, using: &random)
        try store.append(id, .console, Self.output(of: id, run: now.run, from: now.bytes, count: count))
        running[id] = (now.run, now.bytes + UInt64(count))
        Self.say("append \(id) \(count)")
    }

    mutating func finish() throws {
        guard let id = running.keys.sorted().randomElement(using: &random) else { return }
        try store.finish(id, outcome: 1, result: Self.output(of: id, run: 9, from: 0, count: 100), at: id)
        running[id] = nil
        ended.append(id)
        Self.say("finish \(id)")
    }

    mutating func forget() throws {
        guard let id = ended.randomElement(using: &random) else { return }
        _ = try store.forget([id], of: nil)
        ended.removeAll { $0 == id }
        Self.say("forget \(id)")
    }

    /// Bytes that tell which job, run and place they are of.
    static func output(of id: UInt64, run: UInt32, from start: UInt64, count: Int) -> [UInt8] {
        let place = Int((start &+ id &* 31 &+ UInt64(run) &* 7) % UInt64(period))
        return Array(pattern[place..<place + count])
    }

    private static let period = 65_521
    private static let pattern = (0..<period + 100_000).map {
        UInt8(truncatingIfNeeded: ($0 % period &* 0x9E37_79B9) >> 3)
    }

    static func say(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        guard write(1, bytes, bytes.count) == bytes.count else { exit(0) }
    }
}
