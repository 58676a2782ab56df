// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    /// What a report says now.
    mutating func text(of report: ProcessReport, _ memory: borrowing GuestMemory) -> [UInt8] {
        switch report {
        case .commandLine: program.arguments.flatMap { $0 + [0] }
        case .environment: program.environment.flatMap { $0 + [0] }
        case .commandName: program.name + [UInt8(ascii: "\n")]
        case .maps: space.memoryMap
        case .stat: statReport
        case .statm: Array("\(sizes.total) \(sizes.resident) 0 \(sizes.code) 0 \(sizes.data) 0\n".utf8)
        case .status: statusReport
        case .limits: Array(limitsReport.utf8)
        case .memory: Array(memoryReport(memory).utf8)
        case .machineStat: Array(machineStatReport.utf8)
        case .uptime: Array("\(hundredths(moment.monotonic)) 0.00\n".utf8)
        case .randomName: Array(randomName().utf8)
        }
    }

    // MARK: The process

    /// Pages of the process's memory, by what they are for.
    private struct Sizes {
        var (total, resident, code, data, stack) = (0, 0, 0, 0, 0)
    }

    private var sizes: Sizes {
        var sizes = Sizes()
        for region in space.regions.regions {
            sizes.total += region.pages
            if region.protection.contains(.execute) { sizes.code += region.pages }
            if region.protection.contains(.write) { sizes.data += region.pages }
            if region.traits.contains(.stack) { sizes.stack += region.pages }
        }
        sizes.resident = space.frames.used - space.frames.tables
        return sizes
    }

    private var startOfStack: UInt64 {
        space.regions.regions.last { $0.traits.contains(.stack) }?.end ?? 0
    }

    /// 52 fields in one line, of `proc_pid_stat(5)`.
    private var statReport: [UInt8] {
        let ticks = moment.monotonic / (Self.billion / GuestSystem.ticksPerSecond)
        var fields = [UInt64](repeating: 0, count: 48)
        fields[0] = Self.number
        fields[1] = Self.number
        // Flags: PF_RANDOMIZE.
        fields[4] = 0x40_0000
        fields[5] = space.counts.faults
        fields[9] = ticks
        fields[13] = 20
        fields[15] = 1
        fields[18] = UInt64(sizes.total) * GuestMemory.pageBytes
        fields[19] = UInt64(sizes.resident)
        fields[20] = .max
        fields[23] = startOfStack
        // The signal that a parent would get: SIGCHLD.
        fields[33] = 17
        let text = "\(Self.number) (".utf8 + program.name + ") R 0 ".utf8
        return text + Array((fields.map { String($0) }.joined(separator: " ") + "\n").utf8)
    }

    private var statusReport: [UInt8] {
        let (sizes, user) = (sizes, "\(ProcessFiles.user)")
        func kilobytes(_ pages: Int) -> String { "\(pages * 4) kB" }
        let owner = [user, user, user, user].joined(separator: "\t")
        let lines = [
            ("Umask", "0" + String(files.mask, radix: 8)), ("State", "R (running)"), ("Tgid", "\(Self.number)"),
            ("Ngid", "0"), ("Pid", "\(Self.number)"), ("PPid", "0"), ("TracerPid", "0"), ("Uid", owner),
            ("Gid", owner), ("FDSize", "\(DescriptorTable.limit)"), ("Groups", ""),
            ("VmPeak", kilobytes(sizes.total)), ("VmSize", kilobytes(sizes.total)), ("VmLck", kilobytes(0)),
            ("VmPin", kilobytes(0)), ("VmHWM", kilobytes(sizes.resident)), ("VmRSS", kilobytes(sizes.resident)),
            ("RssAnon", kilobytes(sizes.resident)), ("RssFile", kilobytes(0)), ("RssShmem", kilobytes(0)),
            ("VmData", kilobytes(sizes.data)), ("VmStk", kilobytes(sizes.stack)), ("VmExe", kilobytes(sizes.code)),
            ("VmLib", kilobytes(0)), ("VmPTE", kilobytes(space.frames.tables)), ("VmSwap", kilobytes(0)),
            ("Threads", "1"), ("CapInh", "0000000000000000"), ("CapPrm", "0000000000000000"),
            ("CapEff", "0000000000000000"), ("CapBnd", "0000000000000000"), ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"), ("Seccomp", "0"), ("Cpus_allowed", "1"), ("Cpus_allowed_list", "0"),
            ("Mems_allowed_list", "0"), ("voluntary_ctxt_switches", "0"), ("nonvoluntary_ctxt_switches", "0"),
        ]
        let text = lines.map { "\($0.0):\t\($0.1)\n" }.joined()
        return Array("Name:\t".utf8) + program.name + Array("\n\(text)".utf8)
    }

    private var limitsReport: String {
        func row(_ name: String, _ limit: UInt64?, _ unit: String) -> String {
            let value = limit.map { "\($0)" } ?? "unlimited"
            return [(name, 25), (value, 20), (value, 20), (unit, 10)].map { text, width in
                text + String(repeating: " ", count: max(1, width + 1 - text.utf8.count))
            }.joined() + "\n"
        }
        return "Limit                     Soft Limit           Hard Limit           Units     \n"
            + row("Max cpu time", nil, "seconds") + row("Max file size", nil, "bytes")
            + row("Max data size", nil, "bytes") + row("Max stack size", AddressLayout.stackBytes, "bytes")
            + row("Max core file size", 0, "bytes")
            + row("Max open files", UInt64(DescriptorTable.limit), "files") + row("Max address space", nil, "bytes")
    }

    // MARK: The machine

    private func memoryReport(_ memory: borrowing GuestMemory) -> String {
        let (total, free) = (UInt64(space.frames.total), UInt64(space.frames.free))
        let scratch = UInt64(files.tree.usedBytes) / 1024
        let lines: [(String, UInt64)] = [
            ("MemTotal", total * 4), ("MemFree", free * 4), ("MemAvailable", free * 4), ("Buffers", 0),
            ("Cached", scratch), ("SwapCached", 0), ("Active", (total - free) * 4), ("Inactive", 0), ("SwapTotal", 0),
            ("SwapFree", 0), ("Dirty", 0), ("AnonPages", (total - free) * 4), ("Mapped", 0), ("Shmem", scratch),
            ("PageTables", UInt64(space.frames.tables) * 4), ("CommitLimit", total * 4),
            ("Committed_AS", UInt64(sizes.data) * 4), ("HugePages_Total", 0), ("HugePages_Free", 0),
            ("Hugepagesize", 2048),
        ]
        return lines.map { name, value in
            let digits = String(value)
            let blanks = String(repeating: " ", count: max(1, 24 - name.utf8.count - 1 - digits.utf8.count))
            return "\(name):\(blanks)\(digits)\(name.hasPrefix("HugePages") ? "" : " kB")\n"
        }.joined()
    }

    private var machineStatReport: String {
        let ticks = moment.monotonic / (Self.billion / GuestSystem.ticksPerSecond)
        let boot = (moment.realtime - min(moment.realtime, moment.monotonic)) / Self.billion
        let times = "\(ticks) 0 0 0 0 0 0 0 0 0"
        return
            "cpu  \(times)\ncpu0 \(times)\nintr 0\nctxt 0\nbtime \(boot)\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n"
    }

    /// Seconds with two digits behind the point.
    private func hundredths(_ nanoseconds: UInt64) -> String {
        let parts = nanoseconds / 10_000_000 % 100
        return "\(nanoseconds / Self.billion).\(parts < 10 ? "0" : "")\(parts)"
    }

    /// A random UUID, of version 4.
    private mutating func randomName() -> String {
        var bytes = random.bytes(16)
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-") + "\n"
    }
}
