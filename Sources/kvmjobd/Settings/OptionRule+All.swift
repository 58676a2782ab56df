// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobStore
internal import Worker

/// Options that belong together.
struct OptionSection: Sendable {
    var title: String
    var rules: [OptionRule]
}

extension OptionRule {
    /// Every option that takes a value.
    static let all = sections.flatMap(\.rules)

    static let sections = [
        OptionSection(title: "Serving", rules: serving), OptionSection(title: "Log", rules: log),
        OptionSection(title: "Limits of the worker", rules: workerLimits),
        OptionSection(title: "Limits of one user", rules: tenantLimits),
        OptionSection(title: "Detached jobs", rules: detached),
    ]

    private static let serving = [
        OptionRule(
            "socket", .path, \.socketPath, "listen at this path",
            usual: "serve the socket that systemd passes", example: "/run/user/1000/kvmjobd.sock"),
        OptionRule(
            "slots", .count(1...WorkerLimits.maximumSlots), \.slots, "jobs that run at once", usual: "one per core",
            example: "4"),
        OptionRule(
            "machines", .word, \.machines,
            "which jobs may follow one another on a virtual machine, which is brought back to its start in between: any, "
                + "those of one user, or none"),
        OptionRule(
            "idle-exit", .time, \.idleExit, "leave after so long without jobs and connections", usual: "stay",
            example: "10m"),
        OptionRule(
            "drain-timeout", .time, \.drainTimeout,
            "after SIGTERM, let running jobs go on for so long, then cancel them; keep it below the unit's "
                + "TimeoutStopSec="),
        OptionRule(
            "spin", .time(upTo: longestSpin, wanted: "a time such as 200us, at most 10ms"), \.spin,
            "poll for so long before sleeping when there is nothing to do: quicker answers for processor time"),
        OptionRule(
            "operators", .users, \.operators,
            "users who may see and stop every user's jobs, beside root and the worker's own user", usual: "nobody else"),
        OptionRule(
            "confine", .word, \.confinement,
            "once ready, give up files, the network and all system calls but those that it needs: as far as this kernel can, "
                + "wholly or not start, or not at all"),
    ]

    private static let log = [
        OptionRule(
            "log-jobs", .word, \.jobLogging,
            "which jobs get records in the log: all, at acceptance and at the end, those that fail, at the end, or none; two "
                + "records cost more than a small job"),
        OptionRule(
            "log-target", .word, \.logTarget,
            "where the log goes; auto is the journal if systemd connected it, else the standard error output"),
    ]

    private static let workerLimits = [
        OptionRule("connections", .count(1...16_384), \.connections, "connections at once"),
        OptionRule("queued-jobs", .count(1...1_000_000), \.queuedJobs, "jobs that wait for a slot"),
        OptionRule(
            "memory", .size(WorkerLimits.leastMemoryBytes...largestSize), \.memory,
            "memory of this machine that jobs may take: those that run, which get most of it, those that wait, and what is kept; "
                + "other bounds shrink until all fit",
            usual: "half of what there is", example: "2GiB"),
        OptionRule(
            "bytes-in-flight", .size(mebibyte...largestSize), \.bytesInFlight,
            "how much jobs that wait for a slot may keep in memory"),
        OptionRule(
            "image-cache", .size(0...64 << 30), \.imageCache,
            "how much to keep of images, and of what jobs started from, in case they come again; 0 keeps nothing"),
        OptionRule(
            "pause-time", .time, \.pauseTime, "how long a job that used up its steps waits to be given more"),
        OptionRule("max-paused", .count(1...1024), \.pausedJobs, "jobs that wait for more steps at once"),
    ]

    private static let tenantLimits = [
        OptionRule(
            "tenant-queued-jobs", .count(1...1_000_000), \.tenant.queuedJobs, "jobs of one user that wait for a slot"),
        OptionRule(
            "tenant-running-jobs", .count(1...WorkerLimits.maximumSlots), \.tenant.runningJobs,
            "jobs of one user that run at once", usual: noMore, example: "4"),
        OptionRule(
            "tenant-memory", .size(WorkerLimits.leastMemoryBytes...largestSize), \.tenant.memory,
            "memory of this machine that one user's running jobs may take together", usual: noMore, example: "1GiB"),
        OptionRule(
            "tenant-bytes-in-flight", .size(mebibyte...largestSize), \.tenant.bytesInFlight,
            "how much one user's images on their way, and jobs that wait, may keep in memory"),
        OptionRule(
            "tenant-image-cache", .size(0...64 << 30), \.tenant.imageCache, "as image-cache, of one user",
            usual: noMore,
            example: "64MiB"),
        OptionRule(
            "tenant-connections", .count(1...16_384), \.tenant.connections, "connections of one user at once"),
    ]

    private static let detached = [
        OptionRule(
            "state-dir", .path, \.stateDirectory, "keep detached jobs in this directory, which no other worker uses",
            usual: "the one that systemd gives the service ($STATE_DIRECTORY); without one, no jobs are kept",
            example: "/var/lib/kvmjob"),
        OptionRule(
            "tenant-detached-jobs", .count(1...1_000_000), \.detached.tenantJobs,
            "detached jobs of one user that are kept; beyond that, those that ended first are forgotten"),
        OptionRule(
            "tenant-detached-bytes", .size(mebibyte...largestSize), \.detached.tenantBytes,
            "how much one user's detached jobs may take on disk, likewise"),
        OptionRule("detached-time", .time, \.detached.time, "forget a detached job so long after its end"),
        OptionRule(
            "detached-output", .size(0...64 << 30), \.detached.output,
            "how much output of one detached job is kept at most"),
    ]

    private static let noMore = "as much as there is"
    private static let mebibyte: UInt64 = 1 << 20
    /// More than a machine has: 16 TiB.
    private static let largestSize: UInt64 = 16 << 40
    /// Beyond this, a worker that nobody uses takes up a core for longer than it sleeps.
    private static let longestSpin = Duration.milliseconds(10)
}
