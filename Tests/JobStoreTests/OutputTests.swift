// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobStore

@Suite struct OutputTests {
    /// Pieces of three channels, in several groups, one piece larger than a row.
    static let pieces: [(OutputChannel, Int, commits: Bool)] = [
        (.console, 3, false), (.console, 4, true), (.standardError, 5, false), (.console, 1, false),
        (.portWrites, 8, true), (.console, OutputTail.rowBytes + 10, false), (.standardError, 2, false),
    ]

    static let console = allBytes(.console)

    static func bytes(_ channel: OutputChannel) -> [UInt8] { channel == .console ? console : allBytes(channel) }

    private static func allBytes(_ channel: OutputChannel) -> [UInt8] {
        let count = pieces.filter { $0.0 == channel }.reduce(0) { $0 + $1.1 }
        return (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ Int(channel.rawValue)) }
    }

    static func store() throws -> JobStore {
        let store = try openStore()
        #expect(try store.add(try newJob(1)) == .added)
        #expect(try store.noteStart(1) == 1)
        var rest = Dictionary(uniqueKeysWithValues: OutputChannel.allCases.map { ($0, bytes($0)[...]) })
        for (channel, count, commits) in pieces {
            #expect(try store.append(1, channel, Array(rest[channel, default: []].prefix(count))))
            rest[channel, default: []] = rest[channel, default: []].dropFirst(count)
            if commits { try store.commit() }
        }
        try store.commit()
        return store
    }

    @Test func `output comes in its order, what a channel wrote in one group together`() throws {
        let chunks = try Self.store().allOutput(of: 1, limit: 1 << 20)
        #expect(
            chunks.map(\.channel) == [
                .console, .standardError, .console, .portWrites, .console, .console, .standardError,
            ])
        #expect(chunks.map(\.offset) == [0, 0, 7, 0, 8, 8 + UInt64(OutputTail.rowBytes), 5])
        #expect(chunks.map(\.bytes.count) == [7, 5, 1, 8, OutputTail.rowBytes, 10, 2])
    }

    @Test(arguments: [1, 2, 3, 7, 8, 100, 100_000])
    func `pages of any size bring all of it`(limit: Int) throws {
        let store = try Self.store()
        // From behind the large piece where pages are small, so that there are not 65536 of them.
        let start: UInt64 = limit < 10 ? 65_000 : 0
        for channel in [OutputChannel.console, .standardError, .portWrites] {
            let offset = channel == .console ? start : 0
            #expect(
                try store.text(of: 1, channel, from: offset, limit: limit)
                    == Array(Self.bytes(channel).dropFirst(Int(offset))))
        }
    }

    @Test func `reading goes on at every cut of every channel`() throws {
        let store = try Self.store()
        let console = Self.bytes(.console)
        let edges =
            Array(0...20) + [
                OutputTail.rowBytes - 1, OutputTail.rowBytes + 7, OutputTail.rowBytes + 8, console.count - 1,
            ]
        for cut in edges {
            #expect(try store.text(of: 1, .console, from: UInt64(cut), limit: 1 << 20) == Array(console.dropFirst(cut)))
        }
        for cut in 0...7 {
            let chunks = try store.allOutput(of: 1, from: [.standardError: UInt64(cut), .console: 12], limit: 1 << 20)
            #expect(
                chunks.filter { $0.channel == .standardError }.flatMap(\.bytes)
                    == Array(Self.bytes(.standardError).dropFirst(cut)))
            #expect(chunks.filter { $0.channel == .console }.flatMap(\.bytes) == Array(console.dropFirst(12)))
            #expect(chunks.filter { $0.channel == .portWrites }.flatMap(\.bytes) == Self.bytes(.portWrites))
        }
    }

    @Test func `an offset beyond the end waits for it`() throws {
        let store = try openStore()
        #expect(try store.add(try newJob(1)) == .added)
        #expect(try store.noteStart(1) == 1)
        try store.append(1, .console, [1, 2, 3])
        try store.commit()
        var page = try #require(try store.output(of: 1, from: OutputPosition([.console: 5]), limit: 10))
        #expect(page.chunks == [] && !page.hasMore)
        try store.append(1, .console, [4, 5, 6, 7])
        try store.commit()
        page = try #require(try store.output(of: 1, from: page.position, limit: 10))
        #expect(page.chunks == [OutputPage.Chunk(channel: .console, offset: 5, bytes: [6, 7])])
        page = try #require(try store.output(of: 1, from: OutputPosition([.console: .max]), limit: 10))
        #expect(page.chunks == [] && !page.hasMore)
    }

    @Test func `a reader follows a job that writes`() throws {
        let store = try openStore()
        #expect(try store.add(try newJob(1)) == .added)
        #expect(try store.noteStart(1) == 1)
        var (position, read) = (OutputPosition(), [UInt8]())
        for round in 0..<50 {
            try store.append(1, .console, [UInt8](repeating: UInt8(round), count: round))
            try store.commit()
            let page = try #require(try store.output(of: 1, from: position, limit: 30))
            (read, position) = (read + page.chunks.flatMap(\.bytes), page.position)
        }
        while let page = try store.output(of: 1, from: position, limit: 30), !page.chunks.isEmpty {
            (read, position) = (read + page.chunks.flatMap(\.bytes), page.position)
        }
        #expect(read == (0..<50).flatMap { [UInt8](repeating: UInt8($0), count: $0) })
        #expect(try store.job(1)?.job.outputBytes == UInt64(read.count))
    }
}
