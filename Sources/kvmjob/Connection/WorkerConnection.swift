// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import JobTransport
internal import KVMJobClient
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Worker

/// An open connection to a worker, and the worker too where it lives in this process.
struct WorkerConnection {
    let client: JobClient
    private let embedded: Worker?
    private let shell: SecureShell?

    private init(client: JobClient, embedded: Worker? = nil, shell: SecureShell? = nil) {
        (self.client, self.embedded, self.shell) = (client, embedded, shell)
    }

    private static let software = "kvmjob \(KVMJobCommand.version)"

    /// Connects to the worker of this choice.
    ///
    /// - Throws: ``CommandFailure``, or `CancellationError`.
    static func open(_ choice: WorkerChoice) async throws -> WorkerConnection {
        try await telling {
            switch choice {
            case .socket(let path):
                WorkerConnection(client: try await .connect(path: path, software: software))
            case .remote(let host): try await openRemote(host)
            case .embedded: try await startEmbedded()
            }
        }
    }

    /// Connects in some way, and says what went wrong as every command does.
    ///
    /// - Throws: ``CommandFailure``, or what the call throws that is no connection's fault.
    static func telling<Value>(_ connect: () async throws -> Value) async throws -> Value {
        do {
            return try await connect()
        } catch let error as JobClientError {
            throw CommandFailure(message: error.message, status: ExitStatus.broken)
        } catch let error as WorkerStartError {
            let message =
                "\(error.description); this process was to be the worker, as there is none at "
                + "\(WorkerChoice.defaultPath): where the service is installed, an administrator starts it "
                + "(systemctl enable --now kvmjobd.socket)"
            throw CommandFailure(message: message, status: ExitStatus.broken)
        } catch let error as SocketError {
            throw CommandFailure(message: error.description, status: ExitStatus.broken)
        }
    }

    /// Talks through ssh to a worker on another machine.
    private static func openRemote(_ host: RemoteHost) async throws -> WorkerConnection {
        let (shell, descriptor) = try await SecureShell.start(to: host)
        let client = try await shell.connecting {
            try await JobClient.connect(
                descriptor: descriptor, handshakeTimeout: SecureShell.patience, software: software)
        }
        return WorkerConnection(client: client, shell: shell)
    }

    /// Starts a worker on one end of a pair of sockets and talks to it over the other, as to any worker.
    private static func startEmbedded(slots: Int? = nil) async throws -> WorkerConnection {
        let worker = try await startWorker(slots: slots)
        let (near, far) = try UnixSocket.connectedPair()
        Task { try await worker.serve(descriptor: far) }
        return WorkerConnection(client: try await .connect(descriptor: near, software: software), embedded: worker)
    }

    /// A connection to a worker inside this process.
    ///
    /// - Parameter slots: jobs that run at once; nil for as many as there are processors.
    /// - Throws: ``CommandFailure``, or `CancellationError`.
    static func openEmbedded(slots: Int?) async throws -> WorkerConnection {
        try await telling { try await startEmbedded(slots: slots) }
    }

    /// A worker inside this process, with nobody connected.
    ///
    /// - Throws: `WorkerStartError`.
    static func startWorker(slots: Int? = nil) async throws -> Worker {
        let configuration = WorkerConfiguration(
            slots: slots ?? min(System.coreCount, WorkerLimits.maximumSlots), jobLogging: .none,
            software: "\(software), embedded")
        // What it would log, its results and errors tell.
        let logger = Logger(label: "kvmjob") { _ in SwiftLogNoOpLogHandler() }
        return try await DispatchQueue(label: "kvmjob.start").perform {
            try Worker(configuration: configuration, group: MultiThreadedEventLoopGroup.singleton, logger: logger)
        }
    }

    /// Ends the connection; jobs that have not ended are stopped.
    func close() async {
        await client.shutdown()
        await embedded?.drain(grace: .zero)
        await shell?.end()
    }
}
