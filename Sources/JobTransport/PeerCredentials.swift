// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CLinux

/// Who is at the other end of a Unix socket, as the kernel saw it when the connection was made. Cannot be forged.
public struct PeerCredentials: Sendable, Hashable {
    /// The process that connected, or the one that made the socket pair.
    public var process: Int32
    /// Its effective user.
    public var user: UInt32
    /// Its effective group.
    public var group: UInt32

    /// The credentials behind a connected socket, or nil if it has none. `SO_PEERCRED`.
    public init?(descriptor: CInt) {
        let peer = clinux_peer_credentials(descriptor)
        guard peer.error == 0 else { return nil }
        (process, user, group) = (peer.process, peer.user, peer.group)
    }
}
