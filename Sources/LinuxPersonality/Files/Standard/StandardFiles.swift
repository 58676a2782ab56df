// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// The machine that a program finds itself on: the same for every job, and nothing of it is the host's.
enum GuestSystem {
    static let name = "Linux"
    static let host = "kvmjob"
    static let release = "6.1.0"
    static let version = "#1 SMP kvmjob"
    static let architecture = "x86_64"
    static let domain = "(none)"
    /// Processors that the program can use.
    static let processors = 1
    /// How many ticks of processor time a second has: `AT_CLKTCK`, `sysconf(_SC_CLK_TCK)`.
    static let ticksPerSecond: UInt64 = 100
}

/// Files of `/proc` and `/sys` that always say the same.
enum StandardFiles {
    /// By their paths.
    static let texts: [(path: String, text: String)] = process + kernel + machine

    private static let mounts = [("tmpfs", "/", "tmpfs"), ("devtmpfs", "/dev", "devtmpfs"), ("proc", "/proc", "proc")]

    private static let process = [
        ("/proc/1/mounts", mounts.map { "\($0.0) \($0.1) \($0.2) rw,relatime 0 0\n" }.joined()),
        (
            "/proc/1/mountinfo",
            mounts.enumerated().map { index, mount in
                "\(20 + index) \(index == 0 ? 1 : 20) 0:\(32 + index) / \(mount.1) rw,relatime - \(mount.2) \(mount.0) rw\n"
            }.joined()
        ),
        ("/proc/1/cgroup", "0::/\n"),
        ("/proc/1/oom_score", "0\n"),
        ("/proc/1/oom_score_adj", "0\n"),
        ("/proc/1/personality", "00000000\n"),
    ]

    private static let kernel = [
        ("/proc/version", "\(GuestSystem.name) version \(GuestSystem.release) (kvmjob) \(GuestSystem.version)\n"),
        ("/proc/cmdline", "\n"),
        ("/proc/filesystems", "nodev\ttmpfs\nnodev\tdevtmpfs\nnodev\tproc\n"),
        ("/proc/loadavg", "0.00 0.00 0.00 1/1 1\n"),
        ("/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
        ("/proc/sys/kernel/ostype", GuestSystem.name + "\n"),
        ("/proc/sys/kernel/osrelease", GuestSystem.release + "\n"),
        ("/proc/sys/kernel/version", GuestSystem.version + "\n"),
        ("/proc/sys/kernel/hostname", GuestSystem.host + "\n"),
        ("/proc/sys/kernel/domainname", GuestSystem.domain + "\n"),
        ("/proc/sys/kernel/pid_max", "32768\n"),
        ("/proc/sys/kernel/ngroups_max", "65536\n"),
        ("/proc/sys/kernel/cap_last_cap", "40\n"),
        ("/proc/sys/kernel/core_pattern", "core\n"),
        ("/proc/sys/kernel/randomize_va_space", "0\n"),
        ("/proc/sys/kernel/perf_event_paranoid", "4\n"),
        // One boot is like any other.
        ("/proc/sys/kernel/random/boot_id", "6b766d6a-6f62-4000-8000-000000000001\n"),
        ("/proc/sys/kernel/random/entropy_avail", "256\n"),
        ("/proc/sys/kernel/random/poolsize", "256\n"),
        ("/proc/sys/fs/pipe-max-size", "\(Pipe.capacity)\n"),
        ("/proc/sys/fs/nr_open", "\(DescriptorTable.limit)\n"),
        ("/proc/sys/fs/file-max", "\(DescriptorTable.limit)\n"),
        ("/proc/sys/vm/overcommit_memory", "0\n"),
        ("/proc/sys/vm/overcommit_ratio", "50\n"),
        ("/proc/sys/vm/max_map_count", "\(RegionList.maximumCount)\n"),
        ("/proc/sys/vm/mmap_min_addr", "\(AddressLayout.mappable.lowerBound)\n"),
        ("/proc/sys/vm/nr_hugepages", "0\n"),
    ]

    private static let machine = [
        ("/proc/cpuinfo", processors),
        ("/sys/devices/system/cpu/online", "0\n"),
        ("/sys/devices/system/cpu/possible", "0\n"),
        ("/sys/devices/system/cpu/present", "0\n"),
        ("/sys/devices/system/cpu/kernel_max", "0\n"),
        ("/sys/devices/system/cpu/cpu0/topology/core_id", "0\n"),
        ("/sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n"),
        ("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0\n"),
        ("/sys/devices/system/node/online", "0\n"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n"),
        ("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152\n"),
    ]

    /// What every 64-bit processor is; which instructions this one has is CPUID's to say.
    private static let processors =
        [
            ("processor", "0"), ("vendor_id", "kvmjob"), ("cpu family", "6"), ("model", "0"), ("model name", "kvmjob"),
            ("stepping", "0"), ("cpu MHz", "1000.000"), ("physical id", "0"), ("siblings", "1"), ("core id", "0"),
            ("cpu cores", "1"), ("apicid", "0"), ("fpu", "yes"), ("fpu_exception", "yes"), ("cpuid level", "13"),
            ("wp", "yes"),
            (
                "flags",
                "fpu tsc msr pae cx8 apic cmov pat clflush mmx fxsr sse sse2 syscall nx lm constant_tsc nonstop_tsc"
            ),
            ("bogomips", "2000.00"), ("clflush size", "64"), ("cache_alignment", "64"),
            ("address sizes", "46 bits physical, 48 bits virtual"),
        ].map { "\($0.0)\t: \($0.1)\n" }.joined() + "\n"
}
