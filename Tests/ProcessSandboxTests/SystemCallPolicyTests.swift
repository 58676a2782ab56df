// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CKVM
import Foundation
import Glibc
import Testing

@testable import ProcessSandbox

/// Numbers of x86-64, which Swift's Glibc lacks.
private enum Call {
    static let (
        clone, clone3, close, execve, fcntl, fork, getpid, ioctl, kill, mmap, mprotect, openat, ptrace, tgkill, vfork
    ) = (56, 435, 3, 59, 72, 57, 39, 16, 62, 9, 10, 257, 101, 234, 58)
    static let (
        open, fstat, pread64, pwrite64, fdatasync, truncate, ftruncate, rename, unlink, newfstatat
    ) = (2, 5, 17, 18, 75, 76, 77, 82, 87, 262)
}

struct SystemCallPolicyTests {
    static let process: Int32 = 4711
    let program: FilterProgram

    init() throws { program = try FilterProgram(.worker(process: Self.process, keepsJobs: false)) }

    @Test func `a run of a guest is allowed, and soon`() throws {
        let (verdict, steps) = try program.judge(Call.ioctl, [5, UInt64(CKVM_RUN), 0])
        #expect(verdict == .allow)
        // Some nanoseconds, where an exit takes a thousand.
        #expect(steps <= 80, "\(steps) instructions")
    }

    @Test func `every request that the worker makes is allowed, and no other`() throws {
        for request in SystemCallPolicy.requestsOfKVM + SystemCallPolicy.requestsOfCounters {
            #expect(try program.judge(Call.ioctl, [5, UInt64(request)]).0 == .allow)
        }
        // TIOCSTI, KVM_IRQ_LINE, KVM_SET_USER_MEMORY_REGION2, KVM_CREATE_DEVICE
        for request: UInt64 in [0x5412, 0x4008_AE61, 0x40A0_AE49, 0xC00C_AEE0, 0] {
            #expect(try program.judge(Call.ioctl, [5, request]).0 == .fail(ENOSYS))
        }
    }

    @Test func `every request in ckvm's header is in the list, but for those of the start`() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let header = try String(contentsOf: folder.appending(path: "Sources/CKVM/include/ckvm.h"), encoding: .utf8)
        let policy = try String(
            contentsOf: folder.appending(path: "Sources/ProcessSandbox/SystemCallPolicy+Worker.swift"), encoding: .utf8)
        let names = header.matches(of: /static const unsigned long (CKVM_[A-Z0-9_]+)/).map { String($0.1) }
        let listed = Set(policy.matches(of: /\bCKVM_[A-Z0-9_]+/).map { String($0.0) })
        let ofTheStart: Set = ["CKVM_GET_API_VERSION", "CKVM_GET_VCPU_MMAP_SIZE", "CKVM_GET_SUPPORTED_CPUID"]
        #expect(names.count > 30)
        #expect(Set(names).subtracting(ofTheStart) == listed)
    }

    @Test func `threads are started and processes are not`() throws {
        #expect(try program.judge(Call.clone, [0x3D_0F00]).0 == .allow)
        #expect(try program.judge(Call.clone, [UInt64(SIGCHLD)]).0 == .kill)
        // A thread in a name space of its own.
        #expect(try program.judge(Call.clone, [0x3D_0F00 | 0x1000_0000]).0 == .fail(ENOSYS))
        // So that the C library asks by clone.
        #expect(try program.judge(Call.clone3, [0, 88]).0 == .fail(ENOSYS))
        for call in [Call.fork, Call.vfork, Call.execve, Call.ptrace] { #expect(try program.judge(call).0 == .kill) }
    }

    @Test func `memory is never executable`() throws {
        for call in [Call.mmap, Call.mprotect] {
            for protection in 0..<8 {
                let isExecutable = protection & Int(PROT_EXEC) != 0
                let (verdict, _) = try program.judge(call, [0, 4096, UInt64(protection)])
                #expect(verdict == (isExecutable ? .kill : .allow))
            }
        }
    }

    @Test func `signals stay in the process`() throws {
        let own = UInt64(Self.process)
        #expect(try program.judge(Call.tgkill, [own, own + 1, 10]).0 == .allow)
        #expect(try program.judge(Call.tgkill, [own + 1, own + 1, 10]).0 == .kill)
        #expect(try program.judge(Call.kill, [own, 9]).0 == .kill)
        #expect(try program.judge(Call.fcntl, [0, UInt64(F_SETOWN), 1]).0 == .fail(ENOSYS))
    }

    @Test func `files stay closed, but for the one that Dispatch believes to open`() throws {
        let monitor = UInt64(O_RDONLY | O_NONBLOCK)
        #expect(try program.judge(Call.openat, [0, 0, monitor]).0 == .fail(0))
        #expect(try program.judge(Call.openat, [0, 0, UInt64(O_RDONLY | O_CLOEXEC)]).0 == .fail(EPERM))
        #expect(try program.judge(Call.close, [0]).0 == .fail(0))
        #expect(try program.judge(Call.close, [3]).0 == .allow)
    }

    @Test func `calls of another architecture kill`() throws {
        // AUDIT_ARCH_I386; x32
        #expect(try program.judge(20, architecture: 0x4000_0003).0 == .kill)
        #expect(try program.judge(0x4000_0000 + Call.getpid).0 == .kill)
    }

    @Test func `a call that is newer than the lists does not exist`() throws {
        #expect(try program.judge(4000).0 == .fail(ENOSYS))
    }

    @Test func `only a worker that keeps jobs writes files, and none opens or removes one`() throws {
        let keeping = try FilterProgram(.worker(process: Self.process, keepsJobs: true))
        for call in [Call.pwrite64, Call.ftruncate, Call.fdatasync] {
            #expect(try keeping.judge(call, [9]).0 == .allow)
            #expect(try program.judge(call, [9]).0 == .fail(EPERM))
        }
        for call in [Call.fstat, Call.pread64] {
            #expect(try keeping.judge(call, [9]).0 == .allow)
        }
        #expect(try keeping.judge(Call.fcntl, [9, UInt64(F_SETLK)]).0 == .fail(ENOSYS))
        for call in [Call.open, Call.newfstatat, Call.unlink, Call.rename, Call.truncate, Call.ftruncate + 1000] {
            #expect(try keeping.judge(call).0 == program.judge(call).0)
            #expect(try keeping.judge(call).0 != .allow)
        }
        #expect(try keeping.judge(Call.openat, [0, 0, UInt64(O_RDWR | O_CREAT | O_CLOEXEC)]).0 == .fail(EPERM))
    }

    @Test(arguments: [false, true]) func `no call has an answer twice`(keepsJobs: Bool) {
        var seen: Set<SystemCallPolicy.Rule> = []
        var unconditional: Set<String> = []
        let rules = SystemCallPolicy.worker(process: Self.process, keepsJobs: keepsJobs).groups.flatMap(\.rules)
        for rule in rules {
            #expect(seen.insert(rule).inserted, "\(rule)")
            if rule.conditions.isEmpty { unconditional.insert(rule.call) }
        }
        for rule in rules where !rule.conditions.isEmpty { #expect(!unconditional.contains(rule.call), "\(rule)") }
    }

    @Test func `where there are other threads, the files are not closed by halves`() async {
        await #expect(processExitsWith: .success) {
            let error = #expect(throws: SandboxError.self) { try ProcessSandbox.closeFiles() }
            #expect(error?.code == EBUSY || error?.code == ENOSYS || error?.code == EOPNOTSUPP)
        }
    }

    @Test func `in the closed sandbox threads start, memory grows, and files stay closed`() async {
        await #expect(processExitsWith: .success) {
            try ProcessSandbox.closeCalls(keepsJobs: false)
            let sum = await withTaskGroup(of: Int.self) { group in
                for count in 1...64 { group.addTask { [Int](repeating: 1, count: count * 10_000).reduce(0, +) } }
                return await group.reduce(0, +)
            }
            #expect(sum == 64 * 65 / 2 * 10_000)
            #expect(open("/etc/passwd", O_RDONLY) == -1 && errno == EPERM)
        }
    }
}
