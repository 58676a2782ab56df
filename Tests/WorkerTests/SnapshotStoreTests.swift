// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import Worker

@Suite("The snapshot store")
struct SnapshotStoreTests {
    typealias Store = SnapshotStore<Int>

    private func key(_ owner: UInt32, _ name: UInt8) throws -> Store.Key {
        let digest = ContentDigest([UInt8](repeating: name, count: ContentDigest.byteCount))
        return Store.Key(owner: owner, name: try #require(digest))
    }

    private func store(bytes: UInt64 = 100, count: Int = 100) -> Store {
        Store(limits: .init(bytes: bytes, count: count))
    }

    /// Uses a snapshot for a moment; whether it was there.
    private func has(_ owner: UInt32, _ name: UInt8, in store: inout Store) throws -> Bool {
        guard let (_, use) = try store.use(try key(owner, name)) else { return false }
        store.release(use)
        return true
    }

    @Test func `a snapshot is there for its owner alone`() throws {
        var store = store()
        #expect(store.keep(7, as: try key(1, 1), bytes: 10))
        let found = try #require(try store.use(try key(1, 1)))
        #expect(found.content == 7)
        #expect(try store.use(try key(2, 1)) == nil)
        #expect(try store.use(try key(1, 2)) == nil)
    }

    @Test func `what was used least recently goes first`() throws {
        var store = store()
        for name in UInt8(1)...10 { #expect(store.keep(0, as: try key(1, name), bytes: 10)) }
        #expect(try has(1, 1, in: &store))
        #expect(store.keep(0, as: try key(1, 11), bytes: 20))
        #expect(try has(1, 1, in: &store))
        #expect(try !has(1, 2, in: &store))
        #expect(try !has(1, 3, in: &store))
        #expect(try has(1, 4, in: &store))
        #expect(store.count == 9)
    }

    @Test func `no more than the limit's bytes are kept, and none that is larger than all of it`() throws {
        var store = store()
        #expect(store.keep(0, as: try key(1, 1), bytes: 100))
        #expect(!store.keep(0, as: try key(1, 2), bytes: 101))
        #expect(try has(1, 1, in: &store))
        #expect(store.keep(0, as: try key(1, 3), bytes: 1))
        #expect(try !has(1, 1, in: &store))
    }

    @Test func `no more than the limit's number are kept, however small they are`() throws {
        var store = store(bytes: 1000, count: 4)
        for name in UInt8(1)...9 { #expect(store.keep(0, as: try key(1, name), bytes: 1)) }
        #expect(store.count == 4)
        #expect(try has(1, 6, in: &store))
        #expect(try !has(1, 5, in: &store))
    }

    @Test func `an owner pushes out only what another has beyond an equal share`() throws {
        var store = store()
        for name in UInt8(1)...10 { #expect(store.keep(0, as: try key(1, name), bytes: 10)) }
        for name in UInt8(1)...20 { #expect(store.keep(0, as: try key(2, name), bytes: 10)) }
        #expect(try (UInt8(1)...10).filter { try has(1, $0, in: &store) } == [6, 7, 8, 9, 10])
        #expect(try (UInt8(1)...20).filter { try has(2, $0, in: &store) } == [16, 17, 18, 19, 20])
        // One large one of the second's costs that owner alone.
        #expect(store.keep(0, as: try key(2, 21), bytes: 50))
        #expect(try (UInt8(1)...10).filter { try has(1, $0, in: &store) }.count == 5)
        #expect(!store.keep(0, as: try key(2, 22), bytes: 51))
        #expect(try (UInt8(1)...10).filter { try has(1, $0, in: &store) }.count == 5)
    }

    @Test func `what is in use stays, and what has no room without it is not kept`() throws {
        var store = store()
        #expect(store.keep(1, as: try key(1, 1), bytes: 60))
        let (_, use) = try #require(try store.use(try key(1, 1)))
        #expect(!store.keep(2, as: try key(1, 2), bytes: 50))
        #expect(!store.keep(2, as: try key(2, 2), bytes: 50))
        store.release(use)
        #expect(store.keep(2, as: try key(1, 2), bytes: 50))
        #expect(try !has(1, 1, in: &store))
    }

    @Test func `a later one of the same name takes its place, and the earlier counts while it is in use`() throws {
        var store = store()
        #expect(store.keep(1, as: try key(1, 1), bytes: 40))
        let (old, use) = try #require(try store.use(try key(1, 1)))
        #expect(store.keep(2, as: try key(1, 1), bytes: 40))
        let (new, other) = try #require(try store.use(try key(1, 1)))
        #expect(old == 1)
        #expect(new == 2)
        #expect(store.count == 2)
        #expect(!store.keep(3, as: try key(1, 2), bytes: 21))
        store.release(use)
        #expect(store.count == 1)
        #expect(store.keep(3, as: try key(1, 2), bytes: 60))
        store.release(other)
    }

    @Test func `one that has no room beside what is in use leaves the one of its name, and all others, where they are`()
        throws
    {
        var store = store()
        #expect(store.keep(1, as: try key(1, 1), bytes: 40))
        #expect(store.keep(2, as: try key(1, 2), bytes: 30))
        #expect(store.keep(3, as: try key(1, 3), bytes: 10))
        let (_, use) = try #require(try store.use(try key(1, 2)))
        #expect(!store.keep(4, as: try key(1, 1), bytes: 71))
        #expect(store.count == 3)
        #expect(try has(1, 1, in: &store))
        #expect(try has(1, 3, in: &store))
        #expect(store.keep(4, as: try key(1, 1), bytes: 70), "with its own room and that of what nobody uses")
        #expect(try !has(1, 3, in: &store))
        store.release(use)
    }

    private typealias Crowded = Store.Crowded

    @Test func `who has more than a share in use gets no more while another wants room, until that one has it`() throws
    {
        let (start, shortly) = (ContinuousClock.now, Duration.seconds(59))
        var store = store()
        for name in UInt8(1)...4 { #expect(store.keep(0, as: try key(1, name), bytes: 25, at: start)) }
        var uses: [Store.Use] = []
        for name in UInt8(1)...4 { uses.append(try #require(try store.use(try key(1, name), at: start)).use) }
        #expect(try store.use(try key(1, 1), at: start) != nil, "alone it may have all of it")
        #expect(!store.keep(5, as: try key(2, 1), bytes: 30, at: start))
        let crowded = #expect(throws: Crowded.self) { try store.use(try key(1, 1), at: start + shortly) }
        #expect(crowded == Crowded(bytes: 100, share: 50))
        // What else the others do within their shares goes on.
        for use in uses[1...3] { store.release(use) }
        #expect(throws: Never.self) { try store.use(try key(1, 2), at: start + shortly) }
        #expect(throws: Crowded.self) { try store.use(try key(1, 3), at: start + shortly) }
        #expect(store.keep(5, as: try key(2, 1), bytes: 30, at: start + shortly))
        #expect(try store.use(try key(2, 1), at: start + shortly) != nil)
        #expect(try store.use(try key(1, 2), at: start + shortly) != nil)
    }

    @Test func `who does not try again, or wants more than a share, keeps nobody from anything`() throws {
        let start = ContinuousClock.now
        var store = store()
        #expect(store.keep(0, as: try key(1, 1), bytes: 100, at: start))
        #expect(try store.use(try key(1, 1), at: start) != nil)
        #expect(!store.keep(0, as: try key(2, 1), bytes: 51, at: start))
        #expect(throws: Never.self) { try store.use(try key(1, 1), at: start) }
        #expect(!store.keep(0, as: try key(2, 1), bytes: 50, at: start))
        #expect(throws: Crowded.self) { try store.use(try key(1, 1), at: start + .seconds(59)) }
        #expect(throws: Never.self) { try store.use(try key(1, 1), at: start + .seconds(60)) }
    }
}
