// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobStore

@Suite struct RestartTests {
    let directory: StateDirectory

    init() throws { directory = try StateDirectory() }

    @Test func `jobs that ran wait again, without their output`() throws {
        do {
            let store = try directory.store()
            for id in 1...3 as ClosedRange<UInt64> { #expect(try store.add(try newJob(id)) == .added) }
            #expect(try store.noteStart(1) == 1)
            #expect(try store.noteStart(3) == 1)
            try store.append(3, .console, [1, 2, 3])
            try store.commit()
            #expect(try store.usage(of: alice).bytes == 3)
        }
        let store = try directory.store()
        #expect(store.cutShort == [1, 3])
        #expect(try store.list(alice, limit: 9).map(\.state) == [.waiting, .waiting, .waiting])
        #expect(try store.job(3)?.job.outputBytes == 0 && store.job(3)?.cuts == 1 && store.job(3)?.job.run == 1)
        #expect(try store.allOutput(of: 3) == [])
        #expect(try store.usage(of: alice).bytes == 0)
        #expect(try store.noteStart(3) == 2)
        try store.append(3, .console, [9])
        try store.commit()
        #expect(try store.output(of: 3, from: OutputPosition(), limit: 9)?.run == 2)
        #expect(try store.text(of: 3, .console) == [9])
    }

    @Test func `a job that was cut short too often is not run again`() throws {
        do {
            let store = try directory.store()
            #expect(try store.add(try newJob(1)) == .added)
            #expect(try store.add(try newJob(2)) == .added)
            try store.commit()
        }
        for cut in 1...JobStore.cutLimit {
            let store = try directory.store()
            #expect(try store.worn() == [])
            #expect(try store.noteStart(1) == cut)
            try store.commit()
        }
        let store = try directory.store()
        #expect(try store.worn().map(\.job.id) == [1])
        #expect(try store.worn().map(\.cuts) == [JobStore.cutLimit])
        #expect(try store.nextWaiting(of: alice, limit: 9).map(\.job.id) == [2])
        #expect(try store.finish(1, outcome: 9, result: [1], at: 1))
        #expect(try store.worn() == [])
    }

    @Test func `a job put back by a worker that ends in order was not cut short`() throws {
        do {
            let store = try directory.store()
            #expect(try store.add(try newJob(1)) == .added)
            #expect(try store.putBack(1) == false)
            #expect(try store.noteStart(1) == 1)
            try store.append(1, .console, [1, 2])
            #expect(try store.putBack(1))
            #expect(try store.append(1, .console, [3]) == false)
            try store.commit()
        }
        let store = try directory.store()
        #expect(store.cutShort == [])
        #expect(
            try store.job(1)?.cuts == 0 && store.job(1)?.job.state == .waiting && store.job(1)?.job.outputBytes == 0)
        #expect(try store.noteStart(1) == 2)
    }

    @Test func `a second worker is told that the directory is taken`() throws {
        let first = try directory.store()
        #expect(throws: JobStoreError.inUse(path: directory.database)) { try directory.store() }
        #expect(try first.add(try newJob(1)) == .added)
        try first.commit()
    }
}
