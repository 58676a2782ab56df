// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

#if DEBUG
    internal import Dispatch
    internal import Glibc

    /// A drill for the watchdog: hangs, on a signal, what the watchdog watches, as a bug in it would, while the process's other
    /// threads go on.
    ///
    /// Debug builds have it, which is what `swift build` makes without `-c release`; no other build has a trace of it. Even there it
    /// takes ``environmentName`` at the start of the process and SIGWINCH later, which only root and the worker's own user can
    /// send: a client can do neither. SIGWINCH is a signal without effect unless somebody asks for it.
    public struct WatchdogDrill {
        /// The environment variable that asks for drills, by being there with the value 1.
        public static let environmentName = "KVMJOBD_WATCHDOG_DRILL"

        private let source: any DispatchSourceSignal

        /// Calls `hang`, on a queue of its own, at each SIGWINCH from now on. Returns nil, and takes no signal, if the environment does
        /// not ask for drills.
        public static func prepare(_ hang: @escaping @Sendable () -> Void) async -> WatchdogDrill? {
            // SAFETY: `getenv` returns a zero-terminated string or nil; it is copied at once. Nothing changes the environment
            // once threads run.
            guard unsafe getenv(environmentName).map({ unsafe String(cString: $0) }) == "1" else { return nil }
            let source = DispatchSource.makeSignalSource(signal: SIGWINCH, queue: DispatchQueue(label: "kvmjob.drill"))
            await withCheckedContinuation { registered in
                source.setEventHandler { @Sendable in hang() }
                source.setRegistrationHandler { @Sendable in registered.resume() }
                source.activate()
            }
            return WatchdogDrill(source: source)
        }

        /// Gives the signal back.
        public func cancel() { source.cancel() }
    }
#endif
