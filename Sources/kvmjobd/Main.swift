// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
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

    static func main() {
        // A client or a log reader that went away is an error of write(2), never the end of the daemon.
        signal(SIGPIPE, SIG_IGN)
        var target = LogTarget.auto
        do throws(Failure) {
            // First of all, as it changes the environment and there are no threads yet.
            let sockets = try adoptSockets()
            switch try CommandLineParser.parse(Array(CommandLine.arguments.dropFirst())) {
            case .print(let text): print(text)
            case .run(let commandLine, checks: true): exit(check(commandLine).rawValue)
            case .run(let commandLine, checks: false):
                let options = try settings(commandLine).options
                target = options.logTarget
                serve(try ServedSocket.choose(path: options.socketPath, from: sockets), options)
            }
        } catch {
            exit(report(error, to: makeSink(target)).rawValue)
        }
    }

    /// Opens what has to be opened and closes the files, while there is one thread; then goes on with as many as it takes.
    private static func serve(_ socket: ServedSocket, _ options: Options) -> Never {
        let sink = makeSink(options.logTarget)
        let notifier = ServiceNotifier()
        let slots = options.slots ?? min(System.coreCount, WorkerLimits.maximumSlots)
        let kept = Result { () throws(Failure) in try KeptJobs.open(options) }
        let sandbox = WorkerSandbox(options.confinement, keepsJobs: (try? kept.get()) != nil)
        let isClosed = Result { () throws(Failure) in try sandbox.closeFiles() }
        Task {
            let logger = Logger(label: Software.name) { _ in WorkerLogHandler(sink: sink) }
            do throws(Failure) {
                try isClosed.get()
                let worker = try startWorker(options, slots: slots, keeping: kept.get(), logger)
                let daemon = Daemon(
                    options: options, worker: worker, sandbox: sandbox, notifier: notifier, logger: logger)
                let status = try await daemon.run(serving: socket)
                logger.info("stopped", metadata: ["event": "\(EventID.workerStopped.rawValue)"])
                flush(sink)
                exit(status.rawValue)
            } catch {
                exit(report(error, to: sink).rawValue)
            }
        }
        dispatchMain()
    }

    private static func makeSink(_ target: LogTarget) -> LogSink {
        LogSink(identifier: Software.name, destination: target.destination())
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

    private static func startWorker(
        _ options: Options, slots: Int, keeping keeper: JobKeeper?, _ logger: Logger
    ) throws(Failure) -> Worker {
        var limits = Self.limits(options)
        limits.connections = min(options.connections, roomForConnections(besides: limits.machines(slots: slots)))
        var configuration = WorkerConfiguration(
            slots: slots, machines: options.machines, jobLogging: options.jobLogging, limits: limits,
            software: Software.nameAndVersion)
        configuration.spin = options.spin
        configuration.operators = Set(options.operators)
        configuration.keeper = keeper
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
            fileTreeBytes: cache, startingPointBytes: cache)
        limits.detached = options.detached
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

    /// Says why it leaves where the log goes, behind everything logged before.
    private static func report(_ failure: Failure, to sink: LogSink) -> ExitStatus {
        Logger(label: Software.name) { _ in WorkerLogHandler(sink: sink) }.error(
            "\(failure.message)", metadata: ["event": "\(EventID.workerFailed.rawValue)"])
        flush(sink)
        return failure.status
    }

    /// A log that stands still does not keep the worker; what it misses is told where there may be room yet.
    private static func flush(_ sink: LogSink) {
        guard !sink.flush(within: flushTimeout) else { return }
        sink.reportUnwritten(to: StreamDestination(descriptor: STDERR_FILENO))
    }
}
