// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import Glibc
internal import JobProtocol
internal import Logging
internal import NIOCore
internal import Systemd
internal import Worker

/// A worker as a service: serves its socket, tells systemd how it is doing, and drains when it is time to leave.
struct Daemon: Sendable {
    /// How often the status is looked at: the text for `systemctl status` changes at most that often, and idleness is
    /// noticed that late.
    static let statusInterval = Duration.seconds(1)

    /// What makes it stop, and the stop itself.
    enum Event: Sendable {
        case signal(CInt)
        /// An operator has asked for it.
        case drainRequest
        case idle
        case connectionOver(Failure?)
        case drained
    }

    let options: Options
    let worker: Worker
    let sandbox: WorkerSandbox
    let notifier: ServiceNotifier
    let logger: Logger

    /// Serves until there is a reason to leave and every accepted job has its result.
    func run(serving socket: ServedSocket) async throws(Failure) -> ExitStatus {
        let (events, post) = AsyncStream.makeStream(of: Event.self)
        let signals = await ShutdownSignals.takeOver { post.yield(.signal($0)) }
        defer { signals.cancel() }
        worker.whenToldToDrain { post.yield(.drainRequest) }
        #if DEBUG
            let drill = await WatchdogDrill.prepare(hangEventLoop)
            defer { drill?.cancel() }
        #endif
        // All is open now but the door.
        try sandbox.closeCalls(logger)
        worker.noteConfinement(sandbox.holds)
        try await open(socket, post)
        notify(.ready)
        let watchdog = try startWatchdog()
        defer { watchdog?.cancel() }
        let slots = await worker.status.slots
        logger.info("ready", metadata: ["event": .event(.workerReady), "slots": "\(slots)"])
        let observer = Task { await observe(post) }
        let end: Result<ExitStatus, Failure>
        do throws(Failure) { end = .success(try await handle(events, post)) } catch { end = .failure(error) }
        observer.cancel()
        await observer.value
        return try end.get()
    }

    private func open(_ socket: ServedSocket, _ post: AsyncStream<Event>.Continuation) async throws(Failure) {
        do {
            switch socket {
            case .listening(let descriptor): try await worker.listen(descriptor: descriptor)
            case .connected(let descriptor): Task { post.yield(.connectionOver(await serve(descriptor))) }
            }
        } catch {
            throw Failure(status: .systemError, message: "cannot listen: \(error)")
        }
    }

    private func serve(_ descriptor: CInt) async -> Failure? {
        do {
            try await worker.serve(descriptor: descriptor)
            return nil
        } catch {
            return Failure(status: .systemError, message: "cannot serve the connection: \(error)")
        }
    }

    private func handle(
        _ events: AsyncStream<Event>, _ post: AsyncStream<Event>.Continuation
    ) async throws(Failure) -> ExitStatus {
        var isDraining = false
        for await event in events {
            switch event {
            case .drained: return .finished
            case .connectionOver(let failure?): throw failure
            case .signal where isDraining:
                logger.warning("a second signal: leaving without the results of accepted jobs")
                return .interrupted
            case _ where isDraining: break
            // A client may have come since.
            case .idle where await !worker.stopListeningIfIdle(): break
            case .signal, .drainRequest, .idle, .connectionOver(nil):
                isDraining = true
                logger.info("leaving: \(event.reason)")
                notify(.stopping)
                Task {
                    await worker.drain(grace: options.drainTimeout, reason: event.goAwayReason)
                    post.yield(.drained)
                }
            }
        }
        return .finished
    }

    /// Keeps the status text current and watches for idleness, until it is cancelled; then tells the log what it does not know yet.
    private func observe(_ post: AsyncStream<Event>.Continuation) async {
        var last = ""
        var summary = JobSummary()
        repeat {
            let status = await worker.status
            if options.jobLogging != .none { summary.log(status, to: logger) }
            let text = (status.isDraining ? "draining: " : "") + status.text
            if text != last, !Task.isCancelled { notify(.status(text)) }
            last = text
            if let limit = options.idleExit, let since = status.idleSince, since.duration(to: .now) >= limit {
                post.yield(.idle)
            }
        } while (try? await Task.sleep(for: Self.statusInterval)) != nil
        if options.jobLogging != .none { summary.flush(await worker.status, to: logger) }
    }

    /// Pings from the event loop, so that a loop that hangs is noticed, at half of the time that systemd allows.
    private func startWatchdog() throws(Failure) -> RepeatedTask? {
        do throws(SystemCallError) {
            guard let interval = try ServiceNotifier.watchdogInterval() else { return nil }
            let half = TimeAmount(interval / 2)
            return worker.eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: half) { _ in notify(.watchdog) }
        } catch {
            throw Failure(status: .systemError, message: error.description)
        }
    }

    #if DEBUG
        /// For a drill; every other thread goes on.
        private func hangEventLoop() {
            logger.notice("drill: the event loop hangs from here on")
            worker.eventLoop.execute { DispatchSemaphore(value: 0).wait() }
        }
    #endif

    /// A service manager that does not listen is no reason to stop serving clients.
    private func notify(_ lines: ServiceNotifier.Line...) {
        do throws(SystemCallError) {
            try notifier.send(lines)
        } catch {
            logger.warning("systemd was not told: \(error)")
        }
    }
}

extension Daemon.Event {
    /// For clients.
    fileprivate var goAwayReason: GoAwayReason {
        switch self {
        case .idle: .idle
        case .signal, .drainRequest, .connectionOver, .drained: .drain
        }
    }

    /// For the log.
    fileprivate var reason: String {
        switch self {
        case .signal(SIGTERM): "SIGTERM"
        case .signal(SIGINT): "SIGINT"
        case .signal(let number): "signal \(number)"
        case .drainRequest: "an operator asked for it"
        case .idle: "idle"
        case .connectionOver: "connection over"
        case .drained: "drained"
        }
    }
}

extension WorkerStatus {
    /// One line for `systemctl status`.
    fileprivate var text: String {
        "\(slots) slots, \(running) running, \(queued) queued, \(paused) paused, \(connections) connections, "
            + "\(finished) finished"
    }
}

extension Logger.MetadataValue {
    /// The kind of event, for ``WorkerLogHandler``.
    fileprivate static func event(_ id: EventID) -> Self { .string(id.rawValue) }
}
