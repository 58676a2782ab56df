// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import Glibc

/// SIGTERM and SIGINT as calls of a closure.
///
/// No `SIG_IGN` here: on Linux a signal source never fires for an ignored signal.
struct ShutdownSignals {
    private let sources: [any DispatchSourceSignal]

    /// Takes the signals over and returns once they cannot kill the process any more, which is before it may report
    /// readiness. `handler` runs on a queue of its own, once per signal that the kernel did not merge with another.
    static func takeOver(_ handler: @escaping @Sendable (CInt) -> Void) async -> ShutdownSignals {
        let queue = DispatchQueue(label: "kvmjob.signals")
        var sources: [any DispatchSourceSignal] = []
        for signal in [SIGTERM, SIGINT] {
            let source = DispatchSource.makeSignalSource(signal: signal, queue: queue)
            await withCheckedContinuation { registered in
                source.setEventHandler { @Sendable in handler(signal) }
                source.setRegistrationHandler { @Sendable in registered.resume() }
                source.activate()
            }
            sources.append(source)
        }
        return ShutdownSignals(sources: sources)
    }

    /// Gives the signals back.
    func cancel() {
        for source in sources { source.cancel() }
    }
}
