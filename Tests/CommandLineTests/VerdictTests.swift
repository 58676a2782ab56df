// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import kvmjob

@Suite struct VerdictTests {
    private func line(_ outcome: Outcome, _ change: (inout JobResult) -> Void = { _ in }) -> String {
        var result = JobResult(outcome: outcome)
        result.wallNanoseconds = 1_250_000
        change(&result)
        return Verdict(report: JobReport(image: "a", name: "a", end: .ended(result))).line
    }

    @Test func `a verdict tells the end, the steps and the time`() {
        #expect(line(.halted) == "a: halted; 1.2 ms")
        #expect(
            line(.exited(code: 3)) { ($0.steps, $0.meter) = (12, .exact) } == "a: exited with code 3; 12 steps, 1.2 ms")
        #expect(line(.halted) { ($0.steps, $0.meter) = (1, .exact) } == "a: halted; 1 step, 1.2 ms")
        let bounded = line(.tripleFault) { ($0.steps, $0.meter) = (12, .bounded(reason: "it is off")) }
        #expect(bounded.hasSuffix("; about 12 steps (it is off), 1.2 ms"))
    }

    @Test func `a verdict tells the memory that was touched, where that was counted`() {
        #expect(line(.halted) { $0.touchedBytes = 69_632 } == "a: halted; 1.2 ms, 68 KiB touched")
    }

    @Test func `a verdict tells what the guest did into the void`() {
        let line = line(.halted) { ($0.unclaimedPortWrites, $0.droppedMemoryWrites) = (1, 2) }
        #expect(line == "a: halted; 1.2 ms, 1 write to unclaimed ports, 2 writes outside memory dropped")
    }

    @Test(arguments: [
        (
            Outcome.faulted(Fault(vector: 14, errorCode: 6, address: 0xDEAD, rip: 0x1000)),
            "faulted: #PF page fault at rip 0x1000, accessing 0xdead, error code 0x6"
        ),
        (.faulted(Fault(vector: 0, errorCode: nil, address: nil, rip: 16)), "faulted: #DE divide error at rip 0x10"),
        (
            .unemulatable(Unemulatable(rip: 0x7C00, bytes: [0x0F, 0x0B])),
            "unemulatable: KVM could not run the instruction at rip 0x7c00, which begins 0f 0b"
        ),
        (.unemulatable(Unemulatable(rip: nil, bytes: [])), "unemulatable: KVM could not run the instruction"),
        (.exhausted(.steps, limit: 5, used: 5), "steps-exhausted: the budget was 5 steps"),
        (
            .exhausted(.wallTime, limit: 1_000_000_000, used: 1_100_000_000),
            "wall-time-exhausted: the budget was 1 s, used 1.1 s"
        ),
        (.exhausted(.output, limit: 4096, used: 4090), "output-exhausted: the budget was 4 KiB, used 4090 bytes"),
        (.exhausted(.exits, limit: 1, used: 1), "exits-exhausted: the budget was 1 exit"),
        (
            .exhausted(.cpuTime, limit: 5_000_000, used: 5_100_000),
            "cpu-time-exhausted: the budget was 5 ms, used 5.1 ms"
        ),
        (
            .exhausted(.memory, limit: 1 << 20, used: 1_060_864),
            "memory-exhausted: the budget was 1 MiB, used 1036 KiB"
        ),
        (.cancelled(by: .drain), "cancelled by the worker's shutdown"),
        (.waitExpired(limit: 1000), "wait-expired: no slot was free within 1 us"),
        (.hostError("no memory"), "host-error: no memory; running it again is safe"),
    ])
    func `an outcome is told with its details`(outcome: Outcome, text: String) {
        #expect(line(outcome) == "a: \(text); 1.2 ms")
    }

    @Test func `as much of a digest as a person compares`() {
        var result = JobResult(outcome: .halted)
        (result.wallNanoseconds, result.digest) = (1000, [UInt8](0xA0..<0xC0))
        let report = JobReport(image: "a", name: "a", end: .ended(result))
        #expect(Verdict(report: report).line == "a: halted; 1 us, digest a0a1a2a3a4a5a6a7")
    }

    @Test func `a triple fault is told with its cause, where that is known`() {
        let known = line(.tripleFault) { $0.postMortem.cause = Fault(vector: 14, errorCode: 2, address: 8, rip: 0x10) }
        let cause = "#PF page fault at rip 0x10, accessing 0x8, error code 0x2"
        #expect(known == "a: triple-fault: \(cause), which the guest could not handle, twice over; 1.2 ms")
        let unknown = "a: triple-fault: an exception that the guest could not handle, twice over; 1.2 ms"
        #expect(line(.tripleFault) == unknown)
    }

    @Test func `a job that never was tells why`() {
        let refused = JobReport(image: "a", name: "a", end: .refused(.unreadable("no such file")))
        #expect(Verdict(report: refused).line == "a: refused: no such file")
        #expect(Verdict(report: JobReport(image: "a", name: "a", end: .lost("gone"))).line == "a: lost: gone")
    }
}

@Suite struct RegisterTableTests {
    @Test func `registers stand in columns with their flags by name`() {
        var registers = Registers()
        (registers.rax, registers.rbx, registers.r15) = (4, 2, 0xFFFF_FFFF)
        (registers.rip, registers.rflags) = (0x7C0C, 0x46)
        let lines = RegisterTable(registers: registers, system: nil).lines
        #expect(
            lines == [
                "rax 00000004  rbx 00000002  rcx 00000000  rdx 00000000",
                "rsi 00000000  rdi 00000000  rbp 00000000  rsp 00000000",
                "r8  00000000  r9  00000000  r10 00000000  r11 00000000",
                "r12 00000000  r13 00000000  r14 00000000  r15 ffffffff",
                "rip 00007c0c  rflags 00000046 [ZF PF]",
            ])
    }

    @Test func `one wide value makes all of them wide`() {
        var registers = Registers()
        registers.rdx = 1 << 32
        #expect(RegisterTable(registers: registers, system: nil).lines[0].hasSuffix("rdx 0000000100000000"))
    }

    @Test func `segments and control registers say what their bits mean`() {
        var system = SystemRegisters()
        system.cs = Segment(
            base: 0, limit: 0xFFFF_FFFF, selector: 8, attributes: SegmentAttributes(type: 11, s: true, dpl: 3, l: true))
        system.ds = Segment(
            base: 16, limit: 0xFFFF, selector: 16, attributes: SegmentAttributes(type: 3, s: true, db: true))
        system.tr = Segment(base: 0, limit: 103, selector: 24, attributes: SegmentAttributes(type: 11, s: false))
        system.gdt = DescriptorTable(base: 0x1000, limit: 0x27)
        (system.cr0, system.cr4, system.efer) = (0x8000_0011, 0x20, 0x500)
        let lines = RegisterTable(registers: nil, system: system).lines
        #expect(lines[0] == "cs  0008  base 0000000000000000  limit ffffffff  code 64-bit ring 3")
        #expect(lines[1] == "ds  0010  base 0000000000000010  limit 0000ffff  data 32-bit ring 0")
        #expect(lines[2] == "es  0000  base 0000000000000000  limit 00000000  unusable")
        #expect(lines[6].hasSuffix("system type 0xb"))
        #expect(lines.contains("gdt       base 0000000000001000  limit 0027"))
        #expect(lines.contains("cr0 80000011 [PG ET PE]") && lines.contains("cr4 00000020 [PAE]"))
        #expect(lines.contains { $0.hasPrefix("efer 00000500 [LMA LME]") })
    }

    @Test func `flags of two bits are a number`() {
        #expect(BitNames.describeFlags(0x3002) == "[IOPL=3]")
        #expect(BitNames.describeFlags(2) == "[]")
    }

    @Test func `lost registers are said to be lost`() {
        #expect(RegisterTable(registers: nil, system: nil).lines == ["registers: not available"])
    }
}
