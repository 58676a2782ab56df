// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A file that is made as it is read, by its path: it says how the process, or the machine as the process sees it, is now.
enum ProcessReport: String, Sendable, Hashable, CaseIterable {
    case commandLine = "/proc/1/cmdline"
    case environment = "/proc/1/environ"
    case commandName = "/proc/1/comm"
    case maps = "/proc/1/maps"
    case stat = "/proc/1/stat"
    case statm = "/proc/1/statm"
    case status = "/proc/1/status"
    case limits = "/proc/1/limits"

    case memory = "/proc/meminfo"
    case machineStat = "/proc/stat"
    case uptime = "/proc/uptime"
    case randomName = "/proc/sys/kernel/random/uuid"

    /// The last part of the path.
    var name: String { rawValue.split(separator: "/").last.map(String.init) ?? "" }

    /// Whether each thread has one too, in `/proc/self/task`.
    var isOfThread: Bool {
        switch self {
        case .commandName, .maps, .stat, .statm, .status, .limits, .commandLine, .environment: true
        case .memory, .machineStat, .uptime, .randomName: false
        }
    }
}
