// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import SQLite
import Testing

@testable import JobStore

@Suite struct FailureTests {
    let directory: StateDirectory

    init() throws { directory = try StateDirectory() }

    /// SQLite itself refuses to let the file grow.
    private func fill(_ store: JobStore, room pages: Int = 0) throws {
        let count = try #require(try store.database.first("PRAGMA page_count") { row in Int(row.integer(0)) })
        try store.database.run("PRAGMA max_page_count = \(count + pages)")
    }

    @Test func `without room nothing new is taken, nothing kept is lost, and it goes on when there is room`() throws {
        do {
            let store = try directory.store()
            #expect(try store.add(try newJob(1)) == .added)
            #expect(try store.noteStart(1) == 1)
            try store.append(1, .console, [1, 2, 3])
            try store.commit()
            try fill(store, room: 3)
            try store.append(1, .console, [4])
            let large = try newJob(2) { $0.blobs = [try blob(1, 100_000)] }
            let failure = try #require(#expect(throws: JobStoreError.self) { try store.add(large) })
            guard case .noRoom(_, let reason) = failure else { throw failure }
            #expect(reason.text == "database or disk is full")
            // The rest of the group fails with it, and so does its commit.
            #expect(throws: failure) { try store.append(1, .console, [5]) }
            #expect(throws: failure) { try store.commit() }
            #expect(try store.list(nil, limit: 9).map(\.id) == [1])
            #expect(try store.highestID() == 1)
            try store.database.run("PRAGMA max_page_count = 100000")
            #expect(try store.add(large) == .added)
            try store.append(1, .console, [4, 5])
            try store.commit()
            #expect(try store.text(of: 1, .console) == [1, 2, 3, 4, 5])
            #expect(try store.allOutput(of: 1).map(\.offset) == [0, 3])
            #expect(try store.finish(1, outcome: 1, result: [], at: 1))
            try store.commit()
        }
        let store = try directory.store()
        #expect(try store.list(nil, limit: 9).map(\.id) == [1, 2])
        #expect(try store.text(of: 1, .console) == [1, 2, 3, 4, 5])
    }

    /// By a limit on the size of files, which stops a write in its midst as a full disk does.
    @Test func `a write that the kernel breaks off is undone, and the next one goes through`() async {
        await #expect(processExitsWith: .success) {
            signal(SIGXFSZ, SIG_IGN)
            let directory = try StateDirectory()
            do {
                let store = try directory.store()
                try #require(try store.add(try newJob(1)) == .added)
                try #require(try store.noteStart(1) == 1)
                try store.append(1, .console, [1, 2, 3])
                try store.commit()
                let log = try size(of: directory.database + "-wal")
                for room in stride(from: 0, to: 100_000, by: 9001) {
                    try limitFiles(to: log + room)
                    try store.append(1, .console, [UInt8](repeating: 4, count: 200_000))
                    let failure = try #require(#expect(throws: JobStoreError.self) { try store.commit() })
                    guard case .noRoom(_, let reason) = failure else { throw failure }
                    try #require(reason.text == "disk I/O error")
                    try #require(try store.text(of: 1, .console) == [1, 2, 3])
                }
                try limitFiles(to: nil)
                try store.append(1, .console, [4])
                try #require(try store.finish(1, outcome: 1, result: [], at: 1))
                try store.commit()
            }
            let store = try directory.store()
            try #require(try store.text(of: 1, .console) == [1, 2, 3, 4])
            try #require(try store.database.first("PRAGMA integrity_check") { row in row.text(0) } == "ok")
        }
    }

    @Test func `output that finds no room only when its group is committed is undone as well`() throws {
        let store = try directory.store()
        #expect(try store.add(try newJob(1)) == .added)
        #expect(try store.noteStart(1) == 1)
        try store.commit()
        try fill(store)
        try store.append(1, .console, [UInt8](repeating: 1, count: 60_000))
        #expect(throws: JobStoreError.self) { try store.commit() }
        try store.commit()
        try store.database.run("PRAGMA max_page_count = 100000")
        try store.append(1, .console, [7])
        try store.commit()
        #expect(try store.text(of: 1, .console) == [7])
    }

    @Test func `a start that was undone can be made again`() throws {
        let store = try directory.store()
        #expect(try store.add(try newJob(1)) == .added)
        try store.commit()
        #expect(try store.noteStart(1) == 1)
        // The number is taken.
        #expect(throws: JobStoreError.self) { try store.add(try newJob(1)) }
        #expect(throws: JobStoreError.self) { try store.commit() }
        #expect(try store.job(1)?.job.state == .waiting)
        #expect(try store.append(1, .console, [1]) == false)
        #expect(try store.noteStart(1) == 1)
        try store.commit()
    }

    @Test func `the database is its owner's alone`() throws {
        let store = try directory.store()
        #expect(try store.add(try newJob(1)) == .added)
        try store.commit()
        for name in try FileManager.default.contentsOfDirectory(atPath: directory.path) {
            let attributes = try FileManager.default.attributesOfItem(atPath: directory.path + "/" + name)
            #expect(attributes[.posixPermissions] as? Int == 0o600, "\(name)")
        }
    }

    @Test func `what cannot be used is named and left as it is`() throws {
        try Data(repeating: 0x55, count: 8192).write(to: URL(fileURLWithPath: directory.database))
        let damage = #expect(throws: JobStoreError.self) { try directory.store() }
        #expect(
            "\(try #require(damage))".hasPrefix("\(directory.database) is damaged: file is not a database. Move it"))
        #expect(try Data(contentsOf: URL(fileURLWithPath: directory.database)) == Data(repeating: 0x55, count: 8192))

        try FileManager.default.removeItem(atPath: directory.database)
        _ = try directory.sqlite3("CREATE TABLE recipe (name TEXT)")
        #expect(throws: JobStoreError.foreign(path: directory.database)) { try directory.store() }
        #expect(try directory.sqlite3("PRAGMA journal_mode") == "delete")

        #expect(throws: JobStoreError.self) { try JobStore(directory: directory.path + "/none") }
        let text = "\(try #require(#expect(throws: JobStoreError.self) { try JobStore(directory: "/nowhere/") }))"
        #expect(text == "cannot open /nowhere/jobs.sqlite: No such file or directory")
    }

    @Test func `tables of a later release are left alone`() throws {
        _ = try directory.store()
        _ = try directory.sqlite3("PRAGMA user_version = \(Schema.version + 1)")
        let error = JobStoreError.newer(path: directory.database, version: Schema.version + 1, known: Schema.version)
        #expect(throws: error) { try directory.store() }
        #expect("\(error)".contains("install that release again"))
    }

    @Test func `a page that was overwritten is reported and not served`() throws {
        do {
            let store = try directory.store()
            for id in 1...200 as ClosedRange<UInt64> {
                #expect(try store.add(try newJob(id) { $0.input = [UInt8](repeating: 1, count: 3000) }) == .added)
            }
            try store.commit()
        }
        _ = try directory.sqlite3("PRAGMA wal_checkpoint(TRUNCATE)")
        var data = try Data(contentsOf: URL(fileURLWithPath: directory.database))
        // All but the first page, which holds the list of tables.
        data.replaceSubrange(8192..<data.count, with: Data(repeating: 0xAA, count: data.count - 8192))
        try data.write(to: URL(fileURLWithPath: directory.database))
        let error = #expect(throws: JobStoreError.self) {
            let store = try directory.store()
            _ = try store.list(nil, limit: 1000)
        }
        guard case .damaged? = error else { throw try #require(error) }
    }
}

private func limitFiles(to bytes: Int?) throws {
    var limit = rlimit(rlim_cur: bytes.map { rlim_t($0) } ?? .max, rlim_max: .max)
    try #require(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
}

private func size(of path: String) throws -> Int {
    try #require(try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int)
}
