// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import LinuxPersonality
import Testing

@testable import VMRuntime

/// Programs for the tests, from C source by the machine's own compiler.
enum Compiler {
    static let isThere = FileManager.default.isExecutableFile(atPath: "/usr/bin/gcc")

    struct Failed: Error { let message: String }

    /// The bytes of a program.
    static func compile(_ source: String, _ options: [String] = ["-static", "-O1"]) throws -> [UInt8] {
        let folder = FileManager.default.temporaryDirectory.appending(path: "kvmjob-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let (code, program) = (folder.appending(path: "a.c"), folder.appending(path: "a"))
        try source.write(to: code, atomically: true, encoding: .utf8)
        let process = Process()
        let errors = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/gcc")
        process.arguments = options + ["-o", program.path, code.path]
        process.standardError = errors
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failed(message: String(decoding: errors.fileHandleForReading.availableData, as: UTF8.self))
        }
        return Array(try Data(contentsOf: program))
    }
}

extension Run {
    /// Where a program starts that is the only file.
    static func start(
        of bytes: [UInt8], _ arguments: [String] = ["a"], memoryBytes: UInt64 = 32 << 20
    ) throws -> StartingPoint {
        let file = try #require(FileTree(files: [(path: "bin/a", content: FileBytes(bytes), mode: 0o755)]))
        let spec = ProgramSpec(path: Array("/bin/a".utf8), arguments: arguments.map { Array($0.utf8) })
        return try StartingPoint(program: spec, layers: [file], memoryBytes: memoryBytes)
    }

    /// Runs a program that is the only file.
    static func program(
        _ bytes: [UInt8], _ arguments: [String] = ["a"], input: [UInt8] = [], budget: Budget = Budget(),
        memoryBytes: UInt64 = 32 << 20, slot: Slot? = nil
    ) async throws -> Run {
        let job = try AdmittedJob(
            start(of: bytes, arguments, memoryBytes: memoryBytes),
            spec: JobSpec(mode: .linux, memoryBytes: memoryBytes, budget: budget), on: Hardware.backend.get().profile)
        return try await of(job, input: input, slot: slot)
    }

    var errors: String {
        let bytes = events.flatMap { event -> [UInt8] in
            guard case .output(.standardError, let bytes) = event else { return [] }
            return bytes
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

@Suite(
    "Linux programs", .enabled(if: Hardware.isThere, "no usable /dev/kvm"),
    .enabled(if: Compiler.isThere, "no gcc: apt install gcc"))
struct ProgramRunTests {
    @Test func `a program says hello and passes its status on`() async throws {
        let program = try Compiler.compile(
            #"""
            #include <stdio.h>
            int main(int c, char **v) {
                printf("hello %s %d\n", v[1], c);
                fprintf(stderr, "oops\n");
                return 3;
            }
            """#)
        let run = try await Run.program(program, ["a", "world"])
        #expect(run.text == "hello world 2\n" && run.errors == "oops\n")
        #expect(try run.result.outcome == .exited(code: 3))
        let report = try #require(try run.result.program)
        #expect(report.signal == nil && report.systemCalls > 3)
    }

    @Test func `a null pointer is a segmentation fault with its address and place`() async throws {
        let program = try Compiler.compile(
            """
            __attribute__((noinline)) int get(int *p) { return p[6]; }
            int main(int c, char **v) { return get((int *)(long)(c - 1)); }
            """)
        let result = try await Run.program(program).result
        guard case .faulted(let fault) = result.outcome else {
            Issue.record("\(result.outcome)")
            return
        }
        #expect(fault.vector == 14 && fault.address == 0x18)
        #expect(result.program?.signal == 11 && result.program?.place?.hasPrefix("get+0x") == true)
    }

    @Test func `input is read to its end`() async throws {
        let program = try Compiler.compile(
            """
            #include <unistd.h>
            int main() {
                char b[4096];
                long n, s = 0;
                while ((n = read(0, b, 4096)) > 0) { s += n; write(1, b, n); }
                return s == 10000 ? 0 : 1;
            }
            """)
        let input = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        let run = try await Run.program(program, input: input)
        #expect(run.console == input)
        #expect(try run.result.outcome == .exited(code: 0))
    }

    /// Reads in small pieces into memory of all kinds, so that the code in the guest gives the input out and comes upon what it cannot
    /// write to.
    @Test func `reading in small pieces leaves the guest rarely, and bad buffers are refused`() async throws {
        let program = try Compiler.compile(
            """
            #include <unistd.h>
            #include <errno.h>
            #include <sys/mman.h>
            int main() {
                unsigned char b[16], *fresh = mmap(0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                long n, total = 0, sum = 0;
                if (read(0, b, 16) != 16) return 1;
                if (read(0, (void *)8, 16) != -1 || errno != EFAULT) return 2;
                if (read(0, (void *)0x7ffffff00000, 16) != -1 || errno != EFAULT) return 3;
                if (read(0, (void *)main, 16) != -1 || errno != EFAULT) return 4;
                if (read(0, (void *)(1UL << 63), 16) != -1 || errno != EFAULT) return 5;
                if (read(0, b, 0) != 0) return 6;
                for (total = 16; (n = read(0, fresh + total, 16)) > 0; total += n)
                    for (int i = 0; i < n; i++) sum += fresh[total + i];
                int copy = dup(0);
                if (read(copy, b, 16) != 0) return 7;
                return total == 200000 && sum == (200000 - 16) * 7L ? 0 : 8;
            }
            """)
        let run = try await Run.program(program, input: [UInt8](repeating: 7, count: 200_000))
        #expect(try run.result.outcome == .exited(code: 0))
        let calls = try #require(try run.result.program?.systemCalls)
        #expect(calls > 12_500)
        if try Hardware.backend.get().profile.callsStayAtRing3 { #expect(try run.result.exits.io < 2_000) }
    }

    @Test func `registers and flags come through calls that the guest answers itself`() async throws {
        let program = try Compiler.compile(
            """
            #include <unistd.h>
            int main() {
                for (int round = 0; round < 3; round++) {
                    unsigned long number = round ? 39 : 0, before[6] = {11, 12, 13, 14, 15, 16}, flags = 0, rsp0, rsp1;
                    char buffer[8];
                    register unsigned long rdi asm("rdi") = 0, rsi asm("rsi") = (unsigned long)buffer, rdx asm("rdx") = 4;
                    register unsigned long r8 asm("r8") = 1, r9 asm("r9") = 2, r10 asm("r10") = 3;
                    asm volatile("mov %%rsp, %[a]; stc; syscall; pushfq; pop %[f]; mov %%rsp, %[b]"
                        : "+a"(number), [f] "=&r"(flags), [a] "=&r"(rsp0), [b] "=&r"(rsp1), "+r"(rdi), "+r"(rsi), "+r"(rdx),
                          "+r"(r8), "+r"(r9), "+r"(r10) : : "rcx", "r11", "memory");
                    if (rdi || rsi != (unsigned long)buffer || rdx != 4 || r8 != 1 || r9 != 2 || r10 != 3) return 1;
                    if (!(flags & 1) || rsp0 != rsp1 || number != (round ? 1 : 4)) return 2 + round;
                }
                return 0;
            }
            """)
        let run = try await Run.program(program, input: [UInt8](repeating: 7, count: 12))
        #expect(try run.result.outcome == .exited(code: 0))
    }

    @Test func `the clocks in the guest and those of the worker are one`() async throws {
        let program = try Compiler.compile(
            """
            #include <time.h>
            #include <sys/time.h>
            #include <unistd.h>
            #include <sys/syscall.h>
            static long long get(int raw, int clock) {
                struct timespec t;
                if (raw) syscall(SYS_clock_gettime, clock, &t); else clock_gettime(clock, &t);
                return t.tv_sec * 1000000000LL + t.tv_nsec;
            }
            int main() {
                int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME};
                for (int c = 0; c < 3; c++) {
                    long long last = 0;
                    for (int i = 0; i < 200; i++) {
                        long long now = get(i & 1, clocks[c]);
                        if (now < last) return 1 + c;
                        last = now;
                    }
                }
                struct timeval v;
                gettimeofday(&v, 0);
                long long day = get(1, CLOCK_REALTIME) / 1000 - (v.tv_sec * 1000000LL + v.tv_usec);
                if (day < 0 || day > 1000000 || time(0) < v.tv_sec) return 10;
                struct timespec pause = {0, 20000000};
                long long before = get(0, CLOCK_MONOTONIC);
                nanosleep(&pause, 0);
                return get(0, CLOCK_MONOTONIC) - before >= 20000000 ? 0 : 11;
            }
            """)
        let run = try await Run.program(program)
        #expect(try run.result.outcome == .exited(code: 0))
    }

    @Test func `a program goes on from where it was kept, each time with its own input`() async throws {
        let program = try Compiler.compile(
            """
            #include <stdio.h>
            #include <stdlib.h>
            #include <fcntl.h>
            int main() {
                double third = 1.0 / 3;
                char *line = malloc(100);
                puts("before");
                fflush(stdout);
                int fd = open("/dev/kvmjob-ready", O_RDONLY);
                if (fd < 0) return 1;
                if (!fgets(line, 100, stdin)) return 2;
                printf("%.17g %s", third, line);
                return 7;
            }
            """)
        var spec = JobSpec(mode: .linux, memoryBytes: 32 << 20)
        spec.snapshot = .ready
        let name = try #require(ContentDigest([UInt8](repeating: 7, count: 32)))
        let profile = try Hardware.backend.get().profile
        let job = try AdmittedJob(
            Run.start(of: program), spec: spec, keeping: SnapshotTerms(name: name, byteLimit: 64 << 20), on: profile)
        let control = JobControl(hasInput: true)
        let first = try await Run.of(job, control: control)
        #expect(try first.result.outcome == .snapshotTaken(name) && first.text == "before\n")
        let snapshot = try #require(control.takeSnapshot())
        let slot = Slot(number: 0, backend: try Hardware.backend.get())
        defer { slot.stop() }
        for round in 0..<5 {
            let job = try AdmittedJob(from: snapshot, spec: JobSpec(mode: .linux), on: profile)
            let run = try await Run.of(job, input: Array("round \(round)\nnot read\n".utf8), slot: slot)
            #expect(run.text == "0.33333333333333331 round \(round)\n")
            #expect(try run.result.outcome == .exited(code: 7))
        }
    }
}
