// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
public import JobStore
internal import NIOCore
internal import Synchronization

/// The store of detached jobs, on a thread of its own, since the disk blocks.
///
/// What is asked of it happens in the order of asking. All that comes while the disk is busy shares the next commit, so that keeping
/// many jobs takes hardly longer than keeping one. Nobody is told of a change before it is committed.
public final class JobKeeper: Sendable {
    /// Does something with the store, and returns what tells of it.
    private typealias Work = @Sendable (JobStore) -> Telling
    /// Tells of something when it is committed, or why it was not.
    private typealias Telling = @Sendable (_ failure: JobStoreError?) -> Void

    private struct Line {
        var waiting: [Work] = []
        var isBusy = false
    }

    /// The highest number that a job here has had, also if it was forgotten.
    let highestID: UInt64
    /// Nil once it is closed.
    private let store: Mutex<JobStore?>
    private let queue = DispatchQueue(label: "kvmjob.store")
    private let line = Mutex(Line())

    /// Opens the store in a directory, which no other worker may use at the same time. Blocks. From here on no file is opened any
    /// more: the process may give that up.
    ///
    /// - Throws: `JobStoreError`, whose description tells a person what to do.
    public init(directory: String, limits: DetachedLimits) throws(JobStoreError) {
        let store = try JobStore(directory: directory, limits: limits)
        highestID = try store.highestID()
        self.store = Mutex(store)
    }

    /// Has something done with the store, soon and in turn. Does not block.
    ///
    /// - Parameters:
    ///   - change: called on the store's thread.
    ///   - then: told on the event loop what came of it, when that is on the disk.
    func perform<Value: Sendable>(
        on loop: any EventLoop, _ change: @escaping @Sendable (JobStore) throws(JobStoreError) -> Value,
        then: @escaping @Sendable (Result<Value, JobStoreError>) -> Void
    ) {
        let work: Work = { store in
            let result = Result<Value, JobStoreError> { () throws(JobStoreError) in try change(store) }
            return { failure in then(failure.map { .failure($0) } ?? result) }
        }
        let mustStart = line.withLock { line in
            line.waiting.append(work)
            defer { line.isBusy = true }
            return !line.isBusy
        }
        if mustStart { queue.async { self.run(tellingOn: loop) } }
    }

    /// Lets another worker have the directory. What is asked from here on is not done, and nobody is told of it.
    func close() { store.withLock { $0 = nil } }

    /// Works until nothing waits.
    private func run(tellingOn loop: any EventLoop) {
        while true {
            let batch = line.withLock { line in
                defer { line.waiting = [] }
                line.isBusy = !line.waiting.isEmpty
                return line.waiting
            }
            guard !batch.isEmpty else { return }
            let (tellings, failure) = store.withLock { store in
                store.map { Self.work(through: batch, in: $0) } ?? ([], nil)
            }
            loop.execute {
                for tell in tellings { tell(failure) }
            }
        }
    }

    /// Does what waits as one group. Returns what tells of it, and why none of it was done.
    private static func work(
        through batch: [Work], in store: JobStore
    ) -> (tellings: [Telling], failure: JobStoreError?) {
        let tellings = batch.map { $0(store) }
        do throws(JobStoreError) {
            try store.commit()
            return (tellings, nil)
        } catch {
            return (tellings, error)
        }
    }
}
