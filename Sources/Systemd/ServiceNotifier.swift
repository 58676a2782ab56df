// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CSystemd
internal import Glibc

/// Tells the service manager how this process is doing (`Type=notify`). Without a service manager it does nothing.
public struct ServiceNotifier: Sendable {
    /// The longest status text that is sent, in bytes of UTF-8; the rest is cut off.
    public static let statusBytes = 1024

    /// One line of a notification.
    public enum Line: Sendable, Hashable {
        /// Start-up is over; with `Type=notify`, `systemctl start` returns now.
        case ready
        /// No new work from here on.
        case stopping
        /// The process is alive; to be sent at least once in every ``ServiceNotifier/watchdogInterval``.
        case watchdog
        /// Free text for `systemctl status`.
        case status(String)

        var text: String {
            switch self {
            case .ready: "READY=1"
            case .stopping: "STOPPING=1"
            case .watchdog: "WATCHDOG=1"
            case .status(let text): "STATUS=" + text.cut(toUTF8: ServiceNotifier.statusBytes).onOneLine
            }
        }
    }

    /// Nil without a service manager.
    private let socket: Result<DatagramSocket, SystemCallError>?

    /// A notifier for `$NOTIFY_SOCKET`, connected from here on.
    public init() {
        // SAFETY: `getenv` returns a zero-terminated string or nil; it is copied at once. Nothing changes the environment once
        // threads run.
        let address = unsafe getenv("NOTIFY_SOCKET").map { unsafe String(cString: $0) }
        socket = address.map { address in
            Result { () throws(SystemCallError) in try DatagramSocket(connectedTo: address) }
        }
    }

    /// Sends all lines in one datagram, so that systemd never sees one without the others. Returns false if there is
    /// no service manager (`NOTIFY_SOCKET` unset). Blocks only while systemd's receive buffer is full. `sd_notify(3)`
    @discardableResult
    public func send(_ lines: [Line]) throws(SystemCallError) -> Bool {
        guard let socket else { return false }
        try socket.get().send(Array(lines.map(\.text).joined(separator: "\n").utf8))
        return true
    }

    /// The longest time between two watchdog lines before systemd kills this process (`WatchdogSec=`), or nil if it
    /// does not watch. Send at half of it. `sd_watchdog_enabled`
    public static func watchdogInterval() throws(SystemCallError) -> Duration? {
        var microseconds: UInt64 = 0
        // SAFETY: libsystemd writes one 64-bit number.
        let enabled = try unsafe SystemCallError.check(sd_watchdog_enabled(0, &microseconds), "sd_watchdog_enabled")
        return enabled > 0 ? .microseconds(microseconds) : nil
    }
}
