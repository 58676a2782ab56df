// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobTransport
internal import Systemd

/// Where the clients come from.
enum ServedSocket: Sendable {
    /// A listening descriptor, the service manager's or our own, owned by whoever holds this value.
    case listening(CInt)
    /// One client's connection (`Accept=yes`), likewise owned.
    case connected(CInt)

    /// The `FileDescriptorName=` of kvmjobd.socket.
    static let name = "api"

    /// Picks the socket to serve. `--socket` wins over what the service manager passed, which is then closed; it is made at
    /// once, while files may be made, and its path stays when the worker leaves, as it may remove none any more.
    static func choose(
        path: String?, from sockets: consuming ActivatedSockets
    ) throws(Failure) -> ServedSocket {
        if let path { return try listening(at: path) }
        let passed = sockets.names
        do throws(SocketActivationError) {
            for name in [Self.name, ActivatedSockets.connectionName] {
                guard let socket = try sockets.take(named: name) else { continue }
                switch socket.role {
                case .listening: return .listening(socket.release())
                case .connected: return .connected(socket.release())
                }
            }
        } catch {
            throw Failure(status: .configuration, message: error.description)
        }
        throw Failure(status: .configuration, message: missing(passed))
    }

    private static func listening(at path: String) throws(Failure) -> ServedSocket {
        do throws(SocketError) {
            return .listening(try UnixSocket.listen(path: path))
        } catch {
            throw Failure(status: .systemError, message: "cannot listen: \(error)")
        }
    }

    private static func missing(_ passed: [String]) -> String {
        guard !passed.isEmpty else {
            return "there is no socket to serve: start kvmjobd.socket with systemctl, or pass --socket PATH"
        }
        let names = passed.map { "\"\($0)\"" }.joined(separator: ", ")
        return "systemd passed \(names), but no socket named \"\(name)\": set FileDescriptorName=\(name)"
    }
}
