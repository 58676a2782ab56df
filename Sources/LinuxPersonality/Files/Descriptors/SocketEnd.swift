// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// One end of a `socketpair` of streams: a pipe that leads here, and one that leads away. The other end has them the other way around.
struct SocketEnd: Sendable, Hashable {
    var incoming: ObjectNumber
    var outgoing: ObjectNumber
}

extension ProcessFiles {
    /// Two ends that are joined; each is to be opened once.
    mutating func makeSockets() -> (SocketEnd, SocketEnd) {
        let (one, other) = (newObject(), newObject())
        (pipes[one], pipes[other]) = (Pipe(), Pipe())
        return (SocketEnd(incoming: one, outgoing: other), SocketEnd(incoming: other, outgoing: one))
    }

    /// Lets nothing more through one of an end's directions: neither of the two can read what is not there yet, or write.
    mutating func shut(_ direction: ObjectNumber) {
        pipes[direction]?.isShut = true
        raise(direction)
    }

    /// What can be done with an end without waiting: `unix_poll`.
    func readiness(of end: SocketEnd) -> Readiness {
        guard let input = pipes[end.incoming], let output = pipes[end.outgoing] else { return [.error, .hungUp] }
        var ready: Readiness = []
        if input.count > 0 || input.hasEnded { ready.insert(.readable) }
        if input.hasEnded { ready.insert(output.isBroken ? [.peerHungUp, .hungUp] : .peerHungUp) }
        if input.isReset { ready.insert(.error) }
        if output.isBroken || output.room >= Pipe.atomicBytes { ready.insert(.socketWritable) }
        return ready
    }
}
