// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Which worker the jobs go to.
enum WorkerChoice: Hashable, Sendable {
    /// One that listens at this path.
    case socket(path: String)
    /// One on another machine.
    case remote(RemoteHost)
    /// One inside this process.
    case embedded

    /// Whether it is on another machine.
    var isRemote: Bool { if case .remote = self { true } else { false } }

    /// Where the service's socket is.
    static let defaultPath = "/run/kvmjob/kvmjobd.sock"
    /// The environment variable that names another one.
    static let environmentName = "KVMJOB_SOCKET"

    /// The worker that the user asked for, or else the service, or else, where there is no service, one of our own.
    ///
    /// A socket that is there is never passed over: what goes wrong with it is an error.
    ///
    /// An option goes before any variable, and of the variables the one that names a machine goes first.
    ///
    /// - Parameters:
    ///   - host: what `--host` says.
    ///   - exists: whether there is anything at a path; a path that may not be looked at counts as there.
    /// - Throws: where the variable that names a machine is wrong.
    init(
        option: String?, host: RemoteHost? = nil, embedded: Bool, environment: [String: String],
        exists: (String) -> Bool
    ) throws(ValueError) {
        let variable = environment[Self.environmentName].flatMap { $0.isEmpty ? nil : $0 }
        if embedded {
            self = .embedded
        } else if let host {
            self = .remote(host)
        } else if option == nil, let host = try Self.host(environment) {
            self = .remote(host)
        } else if let path = option ?? variable {
            self = .socket(path: path)
        } else {
            self = exists(Self.defaultPath) ? .socket(path: Self.defaultPath) : .embedded
        }
    }
}

extension WorkerChoice {
    private static func host(_ environment: [String: String]) throws(ValueError) -> RemoteHost? {
        guard let text = environment[RemoteHost.environmentName], !text.isEmpty else { return nil }
        do {
            return try RemoteHost(text)
        } catch {
            throw ValueError("$\(RemoteHost.environmentName): \(error.description)")
        }
    }

    /// Where it is, for people; nil for one in this process.
    var place: String? {
        switch self {
        case .socket(let path): path
        case .remote(let host): host.url
        case .embedded: nil
        }
    }

    /// The same, if snapshots outlive the command there.
    ///
    /// - Throws: ``CommandFailure`` for a worker of our own.
    func forSnapshots() throws(CommandFailure) -> WorkerChoice {
        guard self == .embedded else { return self }
        throw CommandFailure(
            message: "a snapshot lives in a worker, and one in this process would take it along when it ends: start "
                + "the service (systemctl start kvmjobd.socket), or kvmjobd --socket PATH, and name it with --socket "
                + "PATH or $\(Self.environmentName)",
            status: ExitStatus.broken)
    }
}
