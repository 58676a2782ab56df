// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CFloor
import Foundation

/// Processor time in seconds: of the whole machine, and of the processes that a benchmark is made of.
struct ProcessorTime {
    private let all: Double
    private let ours: Double
    private let clock: ContinuousClock.Instant

    /// Now. `companions` are processes other than this one and its ended children.
    init(companions: [Int32]) throws {
        all = try Self.machine()
        ours = try Self.usage(RUSAGE_SELF) + Self.usage(RUSAGE_CHILDREN) + companions.map(Self.process).reduce(0, +)
        clock = .now
    }

    /// How much of one core everything else took since then, kernel threads and the hypervisor's own thefts included.
    func othersShare(until end: ProcessorTime) -> Double {
        let others = (end.all - all) - (end.ours - ours)
        return max(0, others / (end.clock - clock).seconds)
    }

    /// The first line of /proc/stat: user nice system idle iowait irq softirq steal, in ticks; user includes guests.
    private static func machine() throws -> Double {
        let text = try String(contentsOfFile: "/proc/stat", encoding: .utf8)
        let fields = text.prefix { $0 != "\n" }.split(separator: " ").dropFirst().compactMap { Double($0) }
        guard fields.count >= 8 else { throw BenchmarkError("/proc/stat reads unlike Linux's") }
        let busy = fields[0] + fields[1] + fields[2] + fields[5] + fields[6] + fields[7]
        return busy / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    private static func usage(_ who: __rusage_who) throws -> Double {
        var usage = rusage()
        guard getrusage(who.rawValue, &usage) == 0 else { throw BenchmarkError("getrusage failed") }
        let whole = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec
        return Double(whole) + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
    }

    private static func process(_ number: Int32) throws -> Double {
        Double(try check(floor_process_time(number), "clock_getcpuclockid")) / 1e9
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}

/// A benchmark that could not be measured, or whose subject did something else than it should.
struct BenchmarkError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// The result of a call of the floor, which is negative when it failed.
func check<Number: SignedInteger>(_ result: Number, _ call: String) throws -> Number {
    guard result < 0 else { return result }
    let reason = result == FLOOR_UNEXPECTED ? "the guest did not do what its program says" : "errno \(-result)"
    throw BenchmarkError("\(call): \(reason)")
}
