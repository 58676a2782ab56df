// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Glibc
internal import JobTransport
internal import KVMJobClient
internal import NIOCore
internal import NIOPosix

/// An ssh that carries one connection to a worker on another machine. It asks for passwords on the terminal, and what it has to say is
/// on this command's standard error.
struct SecureShell: Sendable {
    let host: RemoteHost
    private let process: ChildProcess

    /// How long it may take until a worker there says HELLO: the time of ssh's connection, 2 min for somebody to type a password,
    /// which is what servers allow by default, and 30 s for a worker that has to start.
    static let patience = Duration.seconds(RemoteHost.connectSeconds + 120 + 30)
    /// How long it may take to end when nobody talks through it any more: 2 s.
    static let endTime = Duration.seconds(2)

    /// Starts one.
    ///
    /// - Returns: also this end of the connection, which the caller owns.
    /// - Throws: ``CommandFailure`` if there is no ssh, ``SocketError``.
    static func start(to host: RemoteHost) async throws -> (shell: SecureShell, descriptor: CInt) {
        let (near, far) = try UnixSocket.connectedPair()
        do {
            let loop = MultiThreadedEventLoopGroup.singleton.next()
            let process = try await ChildProcess.start(host.command, stream: far, on: loop)
            return (SecureShell(host: host, process: process), near)
        } catch let error as ChildProcess.StartError {
            UnixSocket.close(near)
            throw CommandFailure.broken(
                error.errno == ENOENT
                    ? "there is no ssh in PATH: install OpenSSH's client (openssh-client)"
                    : "ssh cannot be started: errno \(error.errno)")
        }
    }

    /// Connects through it in some way. When that fails, tells why, and ssh has ended.
    ///
    /// - Throws: ``CommandFailure``, `CancellationError`.
    func connecting<Value>(_ connect: () async throws -> Value) async throws -> Value {
        do {
            return try await connect()
        } catch is CancellationError {
            process.terminate()
            _ = await process.ended()
            throw CancellationError()
        } catch {
            throw failure(error, status: await end())
        }
    }

    /// Waits for its end, as the end of the connection brings it about; soon it is told to.
    @discardableResult
    func end() async -> Int32 {
        let process = process
        let reminder = Task {
            try await Task.sleep(for: Self.endTime)
            process.terminate()
        }
        let status = await process.ended()
        reminder.cancel()
        return status
    }

    private func failure(_ error: any Error, status: Int32) -> CommandFailure {
        if let advice = RemoteFailure(status: status)?.advice(host) { return .broken("\(host.url): \(advice)") }
        guard let error = error as? JobClientError else {
            return error as? CommandFailure ?? .broken("\(host.url): \(error)")
        }
        let advice = "; does a shell there print something at login? ssh \(host.machine) true has to print nothing"
        return .broken("\(host.url): \(error.message)" + (error.code == .protocolViolation ? advice : ""))
    }
}

/// Why ssh, or kvmjob at the far end, ended before there was a connection.
enum RemoteFailure: Int32 {
    /// `kvmjob dial-stdio` does not know that it is one: EX_USAGE.
    case tooOld = 64
    case noWorker = 125
    case notExecutable = 126
    case notInstalled = 127
    /// ssh's own.
    case noConnection = 255

    /// By ssh's exit status, which is the far command's unless it is 255.
    init?(status: Int32) { self.init(rawValue: status) }

    /// What is wrong and what to do about it. What ssh or the far kvmjob said of it stands above.
    func advice(_ host: RemoteHost) -> String {
        switch self {
        case .noConnection:
            "ssh made no connection, for the reason above: "
                + "\"ssh\(host.portOption) \(host.userAndMachine) true\" has to work first"
        case .noWorker:
            "no worker answers there, for the reason above: start kvmjobd.socket on \(host.machine), or write its socket's path "
                + "behind the machine's name"
        case .notInstalled:
            "there is no kvmjob on \(host.machine) in the PATH of a shell that ssh starts: install it there"
        case .notExecutable: "kvmjob on \(host.machine) cannot be executed by this user"
        case .tooOld:
            "kvmjob on \(host.machine) is too old for this: it has no \(DialCommand.name); install a newer one there"
        }
    }
}

extension RemoteHost {
    fileprivate var portOption: String { port.map { " -p \($0)" } ?? "" }
    fileprivate var userAndMachine: String { (user.map { "\($0)@" } ?? "") + machine }
}
