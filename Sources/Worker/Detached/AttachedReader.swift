// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobStore

/// A client that reads of a detached job what is kept of it. Confined to the event loop.
///
/// What it reads always comes from the store, behind the commit, so that nothing that a client has seen is ever taken back.
final class AttachedReader {
    /// The most bytes of one reader's between the store and the socket: 64 KiB.
    static let windowBytes = OutputGate.windowBytes

    let job: UInt64
    /// Its number on its connection; nil connection once that is gone, or has let go.
    let number: UInt32
    private(set) weak var connection: Connection?
    let follows: Bool
    let wantsOutput: Bool
    /// How far it has read.
    var position: OutputPosition
    /// The client's credit that is not used up.
    var credit = 0
    /// What the socket has not taken yet.
    private var unsent = 0
    /// Whether the store has been found to have the job.
    var isAttached = false
    /// Whether the store is being read for it, and whether more has come meanwhile.
    var isReading = false
    var isStale = false

    init(_ request: AttachRequest, number: UInt32, of connection: Connection) {
        (job, self.number, self.connection) = (request.id, number, connection)
        (follows, wantsOutput, position) = (request.follows, request.wantsOutput, OutputPosition(request.offsets))
    }

    /// How many bytes can be sent now.
    var room: Int { max(0, min(credit, Self.windowBytes - unsent)) }

    func sent(_ count: Int) {
        credit -= count
        unsent += count
    }

    /// The socket has taken bytes.
    func flushed(_ count: Int) { unsent -= count }

    /// Nothing is told to it any more.
    func letGo() { connection = nil }
}
