// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The bytes on their way through a pipe.
struct Pipe: Sendable {
    /// What fits in, as on Linux.
    static let capacity = 1 << 16
    /// What is written as one piece, or not at all: `PIPE_BUF`.
    static let atomicBytes = 4096

    private var bytes: [UInt8] = []
    private var taken = 0
    /// Open files at its ends.
    var readers = 1
    var writers = 1
    /// Nothing more goes in: a socket's direction that was shut down.
    var isShut = false
    /// Who wrote was not listened to until the end: a socket that was closed before all had been read. Told once.
    var isReset = false

    /// Whether nothing follows what is in it.
    var hasEnded: Bool { isShut || writers <= 0 }
    /// Whether nobody will read what is written.
    var isBroken: Bool { isShut || readers <= 0 }

    var count: Int { bytes.count - taken }
    var room: Int { Self.capacity - count }

    func peek(_ limit: Int) -> ArraySlice<UInt8> { bytes[taken...].prefix(max(0, limit)) }

    mutating func append(_ more: some Collection<UInt8>) { bytes.append(contentsOf: more) }

    mutating func drop(_ count: Int) {
        taken += count
        guard taken >= bytes.count || taken > Self.capacity else { return }
        bytes.removeFirst(taken)
        taken = 0
    }
}

/// An `eventfd`.
struct EventCounter: Sendable {
    /// The largest value: one below all ones.
    static let maximum = UInt64.max - 1

    var value: UInt64
    /// Whether a read takes one (`EFD_SEMAPHORE`) and not all.
    var isSemaphore: Bool
}

/// The descriptors that an `epoll` watches.
struct InterestList: Sendable {
    struct Key: Hashable, Sendable {
        var descriptor: Int32
        var file: OpenFileNumber
    }

    struct Interest: Sendable {
        var events: UInt32
        var word: UInt64
        /// What was reported last, for edges; or that it was switched off, for one shot.
        var reported: UInt32 = 0
        var isOff = false
        /// The open file's count of changes when it was last reported, for edges.
        var seen: UInt64 = 0
    }

    /// The most descriptors that one may watch.
    static let limit = 4096

    var interests: [Key: Interest] = [:]
    /// In the order of adding; `epoll_wait` goes around in it, so that none starves.
    var order: [Key] = []
}
