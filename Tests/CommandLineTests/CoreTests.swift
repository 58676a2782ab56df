// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Disassembly
import Foundation
import JobModel
import Testing

@testable import kvmjob

/// A folder that is gone with the test.
private final class Folder: Sendable {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)").path

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    var names: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: path).sorted() } }
}

/// Writes the core of a job that ended so, and returns its path.
private func writeCore(
    _ result: JobResult, _ records: [MemoryRecord], memoryBytes: UInt64 = 2 << 20, in folder: Folder
) async throws -> String {
    let path = folder.path + "/core"
    var receiver = MemoryReceiver(Inspection(corePath: path))
    try await receiver.open(memoryBytes: memoryBytes)
    for record in records + [MemoryRecord(address: memoryBytes, bytes: [])] { await receiver.receive(record.encoded) }
    let report = JobReport(image: "a", name: "dir/boot.bin", end: .ended(result))
    let reason = await receiver.finishCore(of: report)
    #expect(reason == nil)
    return path
}

@Suite struct CoreFileTests {
    private let folder: Folder

    init() throws { folder = try Folder() }

    @Test func `memory stands at its place, and zeros take none`() async throws {
        let records = [
            MemoryRecord(address: 0x7C00, bytes: [1, 2, 3]),
            MemoryRecord(address: 512 << 20, bytes: [UInt8](repeating: 0, count: 8192) + [7]),
        ]
        let path = try await writeCore(JobResult(outcome: .halted), records, memoryBytes: 1 << 30, in: folder)
        let file = try #require(FileHandle(forReadingAtPath: path))
        try file.seek(toOffset: CoreHead.memoryOffset + 0x7C00)
        #expect(try file.read(upToCount: 4) == Data([1, 2, 3, 0]))
        try file.seek(toOffset: CoreHead.memoryOffset + 512 << 20 + 8192)
        #expect(try file.read(upToCount: 2) == Data([7, 0]))
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_size == 4096 + 1 << 30 && status.st_mode & 0o777 == 0o600)
        // Head and two runs: the gigabyte between them is holes.
        #expect(status.st_blocks * 512 < 64 << 10)
    }

    @Test func `runs end at pages of zeros and nowhere else`() {
        let bytes = [UInt8](repeating: 1, count: 4096 + 10) + [UInt8](repeating: 0, count: 4096 * 2) + [5]
        let runs = CoreFile.runs(of: MemoryRecord(address: 0x1FF6, bytes: bytes))
        // 10 bytes, a page and the rest of a page; then a page of zeros, and one with the 5.
        #expect(runs.map(\.address) == [0x1FF6, 0x5000] && runs.map(\.bytes.count) == [10 + 4096, 1])
        #expect(CoreFile.runs(of: MemoryRecord(address: 0, bytes: [])).isEmpty)
    }

    @Test func `an older core is replaced when the new one is complete, and not before`() async throws {
        try Data("old".utf8).write(to: URL(fileURLWithPath: folder.path + "/core"))
        var receiver = MemoryReceiver(Inspection(corePath: folder.path + "/core"))
        try await receiver.open(memoryBytes: 4096)
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path + "/core")) == Data("old".utf8))
        await receiver.receive(MemoryRecord(address: 4096, bytes: []).encoded)
        let report = JobReport(image: "a", name: "a", end: .ended(realModeResult(rip: 0)))
        #expect(await receiver.finishCore(of: report) == nil)
        #expect(try folder.names == ["core"])
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path + "/core")).count == 8192)
    }

    @Test func `a core that cannot be completed leaves nothing, and the older one stays`() async throws {
        try Data("old".utf8).write(to: URL(fileURLWithPath: folder.path + "/core"))
        let inspection = Inspection(corePath: folder.path + "/core")
        let ran = realModeResult(rip: 0)
        let ends: [(JobEnd, [UInt8], String)] = [
            (.lost("gone"), [], "no memory and no registers"), (.ended(JobResult(outcome: .halted)), [], "no memory"),
            (.ended(ran), MemoryRecord(address: 4095, bytes: [1, 2]).encoded, "not asked for"),
            (.ended(ran), [UInt8](repeating: 0xFF, count: 12), "not asked for"),
            (.ended(ran), MemoryRecord(address: 0, bytes: [1]).encoded, "not sent all"),
        ]
        for (end, bytes, reason) in ends {
            var receiver: MemoryReceiver? = MemoryReceiver(inspection)
            try await receiver?.open(memoryBytes: 4096)
            await receiver?.receive(bytes)
            let told = await receiver?.finishCore(of: JobReport(image: "a", name: "a", end: end))
            #expect(told?.contains(reason) == true)
            receiver = nil
            #expect(try folder.names == ["core"])
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path + "/core")) == Data("old".utf8))
    }

    @Test(arguments: [
        ("/nonexistent/folder/core", "there is no /nonexistent/folder"), ("/tmp", "no regular file"),
        ("/dev/null", "no regular file"), ("/sys/core", "permission"),
    ])
    func `a path that cannot be written is told before the guest runs`(path: String, reason: String) async {
        var receiver = MemoryReceiver(Inspection(corePath: path))
        let rejection = await #expect(throws: Rejection.self) { try await receiver.open(memoryBytes: 4096) }
        #expect(rejection?.code == "core-unwritable")
        #expect(
            rejection?.message.contains("cannot write \(path): ") == true && rejection?.message.contains(reason) == true
        )
    }

    @Test func `a name of any length fits`() {
        let name = String(repeating: "é/\n", count: 1000)
        for size in CodeSize.allCases {
            var result = realModeResult(rip: .max, csBase: .max)
            result.postMortem.fpu = [UInt8](repeating: 0xFF, count: PostMortem.fpuBytes)
            #expect(CoreHead(name: name, result: result, size: size).bytes(memoryBytes: .max).count == 4096)
        }
    }
}

private let debugger = "/usr/bin/gdb"

@Suite(
    "gdb reads a core",
    .enabled(if: FileManager.default.isExecutableFile(atPath: debugger), "needs /usr/bin/gdb: apt-get install gdb"),
    .timeLimit(.minutes(1)))
struct CoreDebuggerTests {
    private let folder: Folder

    init() throws { folder = try Folder() }

    /// What gdb says to these commands about a core.
    private func ask(_ path: String, _ commands: String...) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: debugger)
        process.arguments = ["-nx", "-batch", "-ex", "core \(path)"] + commands.flatMap { ["-ex", $0] }
        let output = Pipe()
        (process.standardOutput, process.standardError) = (output, output)
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        return text.replacingOccurrences(of: "\t", with: " ")
    }

    private func result(code: SegmentAttributes, _ outcome: Outcome) -> JobResult {
        var result = JobResult(outcome: outcome)
        result.wallNanoseconds = 1
        var (registers, system) = (Registers(), SystemRegisters())
        for (index, name) in RegisterName.allCases.enumerated() { registers[name] = 0x1111_0000 + UInt64(index) }
        (registers.rip, registers.rsp, registers.rbp, registers.rflags) = (0x10_0000, 0x8000, 0x8010, 0x46)
        let data = SegmentAttributes(type: 3, s: true)
        system.cs = Segment(base: 0, limit: .max, selector: 8, attributes: code)
        (system.ss, system.ds, system.es) = (
            Segment(base: 0, limit: .max, selector: 16, attributes: data),
            Segment(base: 0, limit: .max, selector: 24, attributes: data),
            Segment(base: 0, limit: .max, selector: 32, attributes: data)
        )
        (system.fs, system.gs) = (
            Segment(base: 0x5000, limit: .max, selector: 40, attributes: data),
            Segment(base: 0x6000, limit: .max, selector: 48, attributes: data)
        )
        (result.registers, result.system) = (registers, system)
        return result
    }

    /// Code, and at this place on the stack the address that it returns to: 0x100100.
    private func memory(code: [UInt8], returnAt address: UInt64) -> [MemoryRecord] {
        [MemoryRecord(address: address, bytes: [0, 1, 0x10]), MemoryRecord(address: 0x10_0000, bytes: code)]
    }

    // Without symbols gdb takes the return address from the stack pointer in 64-bit code, and from behind the frame pointer in
    // 32-bit code.

    @Test func `64-bit code with its registers, memory, frames and vectors`() async throws {
        var result = result(
            code: SegmentAttributes(type: 11, s: true, l: true),
            .faulted(Fault(vector: 0, errorCode: nil, address: nil, rip: 0x10_0000)))
        result.system?.efer = 0x500
        result.registers?.r15 = 0xFEDC_BA98_7654_3210
        var fpu = [UInt8](repeating: 0, count: PostMortem.fpuBytes)
        fpu.replaceSubrange(0..<2, with: [0x7F, 0x03])
        fpu.replaceSubrange(160..<164, with: [0x44, 0x33, 0x22, 0x11])
        result.postMortem.fpu = fpu
        let path = try await writeCore(result, memory(code: [0x48, 0x31, 0xC0, 0xF4], returnAt: 0x8000), in: folder)
        let said = try ask(
            path, "info registers", "x/2i $pc", "x/4xb 0x100000", "x/2xb 0x100002", "x/xb 0xfffff", "bt",
            "p $xmm0.v4_int32[0]",
            "p/x $fs_base", "p/x $gs_base", "x/xb 0x100000+0x100000")
        #expect(said.contains("Program terminated with signal SIGFPE"))
        #expect(said.contains("Core was generated by `dir/boot.bin: faulted'."))
        // In the order of the wire: rax is 0, rbx 1, rcx 2, rdx 3, rsi 4, rdi 5, r8 is 8.
        for (name, value) in [
            ("rax", "0x11110000"), ("rbx", "0x11110001"), ("rcx", "0x11110002"), ("rdx", "0x11110003"),
            ("rsi", "0x11110004"),
            ("rdi", "0x11110005"), ("rbp", "0x8010"), ("rsp", "0x8000"), ("r8", "0x11110008"), ("r14", "0x1111000e"),
            ("r15", "0xfedcba9876543210"), ("rip", "0x100000"), ("eflags", "0x46"), ("cs", "0x8"), ("ss", "0x10"),
            ("ds", "0x18"), ("es", "0x20"), ("fs", "0x28"), ("gs", "0x30"),
        ] {
            #expect(said.contains(try Regex("(?m)^\(name) +\(value)( |$)")), "\(name)")
        }
        #expect(said.contains("=> 0x100000: xor    %rax,%rax") && said.contains("0x100003: hlt"))
        #expect(said.contains("0x100000: 0x48 0x31 0xc0 0xf4") && said.contains("0xfffff: 0x00"))
        #expect(said.contains("#1  0x0000000000100100 in ?? ()"))
        #expect(said.contains("= 287454020") && said.contains("= 0x5000") && said.contains("= 0x6000"))
        #expect(said.contains("Cannot access memory at address 0x200000"))
    }

    @Test func `32-bit code is read as such`() async throws {
        var result = result(code: SegmentAttributes(type: 11, s: true, db: true), .tripleFault)
        result.postMortem.cause = Fault(vector: 6, errorCode: nil, address: nil, rip: 0x10_0000)
        var fpu = [UInt8](repeating: 0, count: PostMortem.fpuBytes)
        fpu.replaceSubrange(160..<164, with: [0x44, 0x33, 0x22, 0x11])
        result.postMortem.fpu = fpu
        let path = try await writeCore(result, memory(code: [0x40, 0xB8, 1, 0, 0, 0], returnAt: 0x8014), in: folder)
        let said = try ask(path, "info registers", "x/2i $pc", "bt", "p $xmm0.v4_int32[0]")
        #expect(said.contains("signal SIGILL") && said.contains("=> 0x100000: inc    %eax"))
        #expect(said.contains("0x100001: mov    $0x1,%eax") && said.contains("#1  0x00100100 in ?? ()"))
        #expect(said.contains("= 287454020"))
        for (name, value) in [
            ("eax", "0x11110000"), ("ebx", "0x11110001"), ("ecx", "0x11110002"), ("edx", "0x11110003"),
            ("esi", "0x11110004"),
            ("edi", "0x11110005"), ("ebp", "0x8010"), ("esp", "0x8000"), ("eip", "0x100000"), ("eflags", "0x46"),
            ("cs", "0x8"), ("ss", "0x10"), ("ds", "0x18"), ("es", "0x20"), ("fs", "0x28"), ("gs", "0x30"),
        ] {
            #expect(said.contains(try Regex("(?m)^\(name) +\(value)( |$)")), "\(name)")
        }
    }

    @Test func `in real mode the program counter is the linear address`() async throws {
        let path = try await writeCore(
            realModeResult(rip: 0x7C03, csBase: 0x10000),
            [MemoryRecord(address: 0x17C00, bytes: [0xB8, 0x34, 0x12, 0xF4])],
            in: folder)
        let said = try ask(path, "p $pc", "p $cs", "x/xb $pc", "x/i $pc")
        #expect(said.contains("0x17c03") && said.contains("= 4096") && said.contains("0x17c03: 0xf4"))
        #expect(said.contains("=> 0x17c03: hlt"))
    }

    @Test func `lost registers are missing, and memory is there all the same`() async throws {
        var result = JobResult(outcome: .tripleFault)
        result.wallNanoseconds = 1
        let path = try await writeCore(result, [MemoryRecord(address: 0x1000, bytes: [0xF4])], in: folder)
        let said = try ask(path, "x/2xb 0x1000", "info registers")
        #expect(said.contains("0x1000: 0xf4 0x00") && said.contains("<unavailable>"))
    }
}
