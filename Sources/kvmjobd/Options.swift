// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import Systemd
internal import Worker

/// What a start of kvmjobd is asked to be.
struct Options {
    /// The longest time that an option takes: a year.
    static let longestTime = Duration.seconds(365 * 24 * 3600)
    /// The most connections that `--max-connections` takes, within the unit's `LimitNOFILE=`.
    static let maximumConnections = 16384
    /// The most paused jobs that `--max-paused` takes.
    static let maximumPausedJobs = 1024
    /// The most MiB that `--image-cache` takes: 64 GiB.
    static let maximumImageCache = 65_536

    /// The path to listen at; nil means the service manager's socket.
    var socketPath: String?
    /// Jobs that run at once; nil means as many as there are cores for this process.
    var slots: Int?
    /// Which jobs may follow one another on the same virtual machine.
    var machines = MachinePolicy.pooled
    /// How long without jobs and connections until it leaves; nil means never.
    var idleExit: Duration?
    /// Which jobs get a record in the log.
    var jobLogging = JobLogging.failures
    /// Where the log goes.
    var logTarget = LogTarget.auto
    /// How long running jobs may go on after SIGTERM. Below the unit's `TimeoutStopSec=`, so that systemd never kills.
    var drainTimeout = Duration.seconds(45)
    /// Connections at once.
    var connections = WorkerLimits().connections
    /// How long a paused job's machine is kept.
    var pauseTime = WorkerLimits.defaultPauseTime
    /// Machines of paused jobs that are kept at once.
    var pausedJobs = WorkerLimits().pausedJobs
    /// MiB of images that are kept for users who may submit them again.
    var imageCache = WorkerLimits().knownImageBytes >> 20
    /// How much of its sandbox the worker insists on.
    var confinement = ConfinementRule.auto
    /// For how long threads without work poll before they sleep.
    var spin = Duration.zero
}

/// What the command line says.
enum Command {
    /// Be a daemon.
    case run(Options)
    /// Print this text and leave.
    case print(String)
}

/// One option that takes a value.
struct OptionRule {
    /// With its dashes.
    var name: String
    /// What stands for the value in the help text.
    var value: String
    /// What it does, for the help text; one or more lines.
    var help: [String]
    /// Stores the value. Returns false if it is not one; `wanted` then says what would be.
    var store: @Sendable (String, inout Options) -> Bool
    /// What a right value looks like, to end a sentence with.
    var wanted: String
}

extension OptionRule {
    static let all: [OptionRule] = [
        OptionRule(
            name: "--socket", value: "PATH",
            help: ["listen at PATH; without it, kvmjobd serves the socket that systemd passes"],
            store: { text, options in
                options.socketPath = text
                return !text.isEmpty
            }, wanted: "a path"),
        OptionRule(
            name: "--slots", value: "N", help: ["jobs that run at once (default: one per core)"],
            store: { text, options in
                options.slots = number(text, upTo: WorkerLimits.maximumSlots)
                return options.slots != nil
            }, wanted: "a number from 1 to \(WorkerLimits.maximumSlots)"),
        OptionRule(
            name: "--machines", value: "pooled|tenant|fresh",
            help: [
                "which jobs may follow one another on a virtual machine, which is brought back",
                "to its start in between: any, those of one user, or none (default: pooled)",
            ],
            store: { text, options in store(MachinePolicy(rawValue: text), &options.machines) },
            wanted: "pooled, tenant or fresh"),
        OptionRule(
            name: "--idle-exit", value: "TIME", help: ["leave after TIME without jobs and connections (default: stay)"],
            store: { text, options in
                options.idleExit = time(text)
                return options.idleExit != nil
            }, wanted: aTime),
        OptionRule(
            name: "--log-jobs", value: "none|failures|all",
            help: ["which jobs get a record in the log (default: failures; a record costs", "more than a small job)"],
            store: { text, options in store(JobLogging(rawValue: text), &options.jobLogging) },
            wanted: "none, failures or all"),
        OptionRule(
            name: "--log-target", value: "auto|journal|stderr",
            help: ["where the log goes (default: auto, the journal if systemd connected it)"],
            store: { text, options in store(LogTarget(rawValue: text), &options.logTarget) },
            wanted: "auto, journal or stderr"),
        OptionRule(
            name: "--spin", value: "TIME",
            help: [
                "poll for TIME before sleeping when there is nothing to do: quicker answers",
                "for processor time (default: sleep at once)",
            ],
            store: { text, options in store(time(text).flatMap { $0 <= longestSpin ? $0 : nil }, &options.spin) },
            wanted: "a time such as 200us, at most 10ms"),
        OptionRule(
            name: "--confine", value: "auto|require|off",
            help: [
                "once ready, give up files, the network and all system calls but those that",
                "it needs: as far as this kernel can, wholly or not start, or not at all",
                "(default: auto)",
            ],
            store: { text, options in store(ConfinementRule(rawValue: text), &options.confinement) },
            wanted: "auto, require or off"),
        OptionRule(
            name: "--drain-timeout", value: "TIME",
            help: ["after SIGTERM, let running jobs go on for TIME, then cancel them", "(default: 45s)"],
            store: { text, options in store(time(text), &options.drainTimeout) }, wanted: aTime),
        OptionRule(
            name: "--max-connections", value: "N", help: ["connections at once (default: \(Options().connections))"],
            store: { text, options in store(number(text, upTo: Options.maximumConnections), &options.connections) },
            wanted: "a number from 1 to \(Options.maximumConnections)"),
        OptionRule(
            name: "--pause-time", value: "TIME",
            help: ["how long a job that used up its steps waits to be given more", "(default: 30s)"],
            store: { text, options in store(time(text), &options.pauseTime) }, wanted: aTime),
        OptionRule(
            name: "--max-paused", value: "N",
            help: ["jobs that wait for more steps at once (default: \(Options().pausedJobs))"],
            store: { text, options in store(number(text, upTo: Options.maximumPausedJobs), &options.pausedJobs) },
            wanted: "a number from 1 to \(Options.maximumPausedJobs)"),
        OptionRule(
            name: "--image-cache", value: "MIB",
            help: [
                "how much to keep of images, and of what jobs started from, in case",
                "they come again (default: \(Options().imageCache); 0 keeps nothing)",
            ],
            store: { text, options in
                store(number(text, from: 0, upTo: Options.maximumImageCache), &options.imageCache)
            },
            wanted: "a number of MiB from 0 to \(Options.maximumImageCache)"),
    ]

    /// Beyond this, a worker that nobody uses takes up a core for longer than it sleeps.
    private static let longestSpin = Duration.milliseconds(10)

    private static let aTime = "a time such as 500ms, 45s, 10m or 2h, at most a year"

    private static func store<Value>(_ value: Value?, _ place: inout Value) -> Bool {
        guard let value else { return false }
        place = value
        return true
    }

    private static func time(_ text: String) -> Duration? {
        Duration(text: text).flatMap { $0 <= Options.longestTime ? $0 : nil }
    }

    private static func number(_ text: String, from minimum: Int = 1, upTo maximum: Int) -> Int? {
        guard let number = Int(text), (minimum...maximum).contains(number) else { return nil }
        return number
    }
}
