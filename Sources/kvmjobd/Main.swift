// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Glibc
internal import JobTransport
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Systemd
internal import Worker

/// kvmjobd: the worker as a systemd service.
@main
enum Main {
    /// How long the last log records may take to be written.
    static let flushTimeout = Duration.seconds(2)

    static func main() async {
        exit(await leave().rawValue)
    }

    private static func leave() async -> ExitStatus {
        // A client or a log reader that went away is an error of write(2), never the end of the daemon.
        signal(SIGPIPE, SIG_IGN)
        var target = LogTarget.auto
        do throws(Failure) {
            // First of all, as it changes the environment and there are no threads yet.
            let sockets = try adoptSockets()
            switch try CommandLineParser.parse(Array(CommandLine.arguments.dropFirst())) {
            case .print(let text):
                print(text)
                return .finished
            case .run(let commandLine, checks: true):
                return check(commandLine)
            case .run(let commandLine, checks: false):
                let options = try settings(commandLine).options
                target = options.logTarget
                let socket = try ServedSocket.choose(path: options.socketPath, from: sockets)
                return try await run(options, socket)
            }
        } catch {
            return report(error, to: target)
        }
    }

    private static func adoptSockets() throws(Failure) -> ActivatedSockets {
        do throws(SystemCallError) {
            return try ActivatedSockets.adopt()
        } catch {
            throw Failure(status: .systemError, message: error.description)
        }
    }

    /// Prints what a start would go by, or every mistake of the settings file.
    private static func check(_ commandLine: CommandLineSettings) -> ExitStatus {
        do throws(SettingsFile.Mistakes) {
            print(try Settings(commandLine).report)
            return .finished
        } catch {
            print(error.sentences.joined(separator: "\n"))
            return .configuration
        }
    }

    private static func settings(_ commandLine: CommandLineSettings) throws(Failure) -> Settings {
        do throws(SettingsFile.Mistakes) {
            return try Settings(commandLine)
        } catch {
            let others = error.sentences.count - 1
            let more = others > 0 ? " (and \(others) more: kvmjobd --check-config tells all)" : ""
            throw Failure(status: .configuration, message: (error.sentences.first ?? "") + more)
        }
    }

    private static func run(_ options: Options, _ socket: ServedSocket) async throws(Failure) -> ExitStatus {
        let sink = LogSink(identifier: Software.name, destination: options.logTarget.destination())
        defer { _ = sink.flush(within: flushTimeout) }
        let logger = Logger(label: Software.name) { _ in WorkerLogHandler(sink: sink) }
        let worker = try startWorker(options, logger)
        let status = try await Daemon(options: options, worker: worker, logger: logger).run(serving: socket)
        logger.info("stopped", metadata: ["event": "\(EventID.workerStopped.rawValue)"])
        return status
    }

    private static func startWorker(_ options: Options, _ logger: Logger) throws(Failure) -> Worker {
        let slots = options.slots ?? min(System.coreCount, WorkerLimits.maximumSlots)
        var limits = Self.limits(options)
        limits.connections = min(options.connections, roomForConnections(besides: limits.machines(slots: slots)))
        var configuration = WorkerConfiguration(
            slots: slots, machines: options.machines, jobLogging: options.jobLogging, limits: limits,
            software: Software.nameAndVersion)
        configuration.spin = options.spin
        configuration.operators = Set(options.operators)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do throws(WorkerStartError) {
            return try Worker(configuration: configuration, group: group, logger: logger)
        } catch {
            throw Failure(status: .unavailable, message: "\(error)")
        }
    }

    /// What clients can make the worker hold, all together and each user.
    private static func limits(_ options: Options) -> WorkerLimits {
        let (cache, waiting) = (Int(clamping: options.imageCache), Int(clamping: options.bytesInFlight))
        var limits = WorkerLimits(
            tenant: limits(ofTenant: options.tenant), queuedJobs: options.queuedJobs, queuedImageBytes: waiting,
            pauseTime: options.pauseTime, pausedJobs: options.pausedJobs, knownImageBytes: cache,
            startingPointBytes: cache)
        limits.fit(into: max(options.memory ?? WorkerLimits.defaultMemoryBytes, WorkerLimits.leastMemoryBytes))
        return limits
    }

    private static func limits(ofTenant options: TenantOptions) -> TenantLimits {
        TenantLimits(
            queuedJobs: options.queuedJobs, runningJobs: options.runningJobs ?? .max,
            memoryBytes: options.memory ?? .max, bytesInFlight: Int(clamping: options.bytesInFlight),
            knownImageBytes: options.imageCache.map { Int(clamping: $0) } ?? .max, connections: options.connections)
    }

    /// Connections and guests share this process's descriptors. Those that guests need are kept for them, so that a crowd of
    /// clients is turned away and no job fails for want of a descriptor.
    private static func roomForConnections(besides machines: Int) -> Int {
        let own = 32
        let perMachine = 4
        // Outside systemd the soft limit is often 1024.
        guard let limit = UnixSocket.raiseDescriptorLimit() else { return Int.max }
        return max(1, limit - own - machines * perMachine)
    }

    /// Says why it leaves where the log goes; everything logged before has been flushed.
    private static func report(_ failure: Failure, to target: LogTarget) -> ExitStatus {
        let sink = LogSink(identifier: Software.name, destination: target.destination())
        Logger(label: Software.name) { _ in WorkerLogHandler(sink: sink) }.error(
            "\(failure.message)", metadata: ["event": "\(EventID.workerFailed.rawValue)"])
        _ = sink.flush(within: flushTimeout)
        return failure.status
    }
}
