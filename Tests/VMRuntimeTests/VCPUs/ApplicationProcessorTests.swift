// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

/// Guests of several processors on the board of a PC, in machine code with their listing.
private enum Starter {
    /// Protected mode: `mov dword [address], value`
    private static func store(_ address: UInt32, _ value: UInt32) -> [UInt8] {
        [0xC7, 0x05] + bytes(address) + bytes(value)
    }

    private static func bytes(_ word: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }

    private static func word(_ bytes: some Sequence<UInt8>) -> UInt32 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// Has this real-mode code at 0x8000, and turns the local APIC on.
    static func place(_ code: [UInt8]) -> [UInt8] {
        var image: [UInt8] = []
        for at in stride(from: 0, to: code.count, by: 4) {
            image += store(0x8000 + UInt32(at), word(code[at..<min(at + 4, code.count)]))
        }
        return image + store(0xFEE0_00F0, 0x1FF)
    }

    /// INIT and SIPI with vector 8 for the processor with this number.
    static func start(_ number: UInt32) -> [UInt8] {
        store(0xFEE0_0310, number << 24) + store(0xFEE0_0300, 0x4500) + store(0xFEE0_0310, number << 24)
            + store(0xFEE0_0300, 0x4608)
    }

    /// `again: cmp byte [0x500], count; jne again`
    static func wait(_ count: UInt8) -> [UInt8] { [0x80, 0x3D, 0x00, 0x05, 0x00, 0x00, count, 0x75, 0xF7] }

    /// `mov al, character; out 0xe9, al`
    static func say(_ character: Character) -> [UInt8] { [0xB0, character.asciiValue ?? 0, 0xE6, 0xE9] }

    /// `cli; again: hlt; jmp again`
    static let halt: [UInt8] = [0xFA, 0xF4, 0xEB, 0xFD]

    /// Real mode: says the number that CPUID gives its local APIC, counts itself at 0x500 and halts.
    static let introduce: [UInt8] = [
        0x66, 0xB8, 0x01, 0x00, 0x00, 0x00, 0x0F, 0xA2,  // mov eax, 1; cpuid
        0x66, 0xC1, 0xEB, 0x18, 0x88, 0xD8,  // shr ebx, 24; mov al, bl
        0x04, 0x30, 0xE6, 0xE9,  // add al, '0'; out 0xe9, al
        0x31, 0xC0, 0x8E, 0xD8, 0xF0, 0xFE, 0x06, 0x00, 0x05,  // ds = 0; lock inc byte [0x500]
        0xFA, 0xF4, 0xEB, 0xFD,  // cli; again: hlt; jmp again
    ]

    /// Real mode: counts down from 60,000 and exits with 9.
    static let exitLater: [UInt8] = [0xB9, 0x60, 0xEA, 0x49, 0x75, 0xFD, 0xB0, 0x09, 0xE6, 0xF4]
}

@Suite("Several processors on the board of a PC", .enabled(if: Hardware.isThere, "needs /dev/kvm"), .serialized)
struct ApplicationProcessorTests {
    private func run(_ image: [UInt8], _ count: Int, wallTime: Duration = .seconds(20)) async throws -> Run {
        var spec = SeveralVCPUs.spec(count, mode: .protected32, Budget(wallTime: wallTime))
        spec.board = .pc
        return try await Run.of(image, spec)
    }

    @Test func `processors that nobody starts wait, and do not keep the job from ending`() async throws {
        let result = try await run(Starter.halt, 3).result
        #expect(result.outcome == .halted && result.processors.map(\.state) == [.halted, .waiting, .waiting])
        #expect(result.registers?.rip == 0x10_0002 && result.registers?.rdi == 0)
    }

    @Test(arguments: [2, 4]) func `each that is started by INIT and SIPI runs and has a number of its own`(
        count: Int
    ) async throws {
        var image = Starter.place(Starter.introduce)
        for number in 1..<UInt32(count) { image += Starter.start(number) + Starter.wait(UInt8(number)) }
        let run = try await run(image + Starter.say("A") + Starter.halt, count)
        let result = try run.result
        #expect(run.text == String("123".prefix(count - 1)) + "A")
        #expect(result.outcome == .halted && result.processors.allSatisfy { $0.state == .halted })
    }

    @Test func `one that has halted can be started again`() async throws {
        let start = Starter.start(1)
        let image = Starter.place(Starter.introduce) + start + Starter.wait(1) + start + Starter.wait(2)
        let run = try await run(image + Starter.say("A") + Starter.halt, 2)
        #expect(run.text == "11A")
        #expect(try run.result.outcome == .halted)
    }

    @Test func `while one runs, others that have halted do not end the job`() async throws {
        let result = try await run(Starter.place(Starter.exitLater) + Starter.start(1) + Starter.halt, 2).result
        #expect(result.outcome == .exited(code: 9) && result.processors.map(\.state) == [.halted, .ended])
    }

    @Test func `one that spins is stopped by the clock, and one that waits with interrupts on is not halted`()
        async throws
    {
        let spinning = try await run(
            Starter.place([0xEB, 0xFE]) + Starter.start(1) + Starter.halt, 2, wallTime: .milliseconds(100)
        ).result
        #expect(spinning.processors.map(\.state) == [.halted, .stopped])
        let waiting = try await run([0xFB, 0xF4, 0xEB, 0xFD], 2, wallTime: .milliseconds(100)).result
        #expect(waiting.processors.map(\.state) == [.stopped, .waiting])
        for result in [spinning, waiting] {
            guard case .exhausted(.wallTime, _, _) = result.outcome else {
                Issue.record("\(result.outcome)")
                continue
            }
        }
    }

    @Test func `a reset by one ends the job`() async throws {
        // mov al, 0xfe; out 0x64, al
        let image = Starter.place([0xB0, 0xFE, 0xE6, 0x64]) + Starter.start(1) + [0xEB, 0xFE]
        let result = try await run(image, 2).result
        #expect(result.outcome == .halted && result.processors.map(\.state) == [.stopped, .ended])
    }

    @Test func `firmware is told how many there are`() {
        var firmware = FirmwareConfiguration(memoryBytes: 1 << 20, romBytes: 0, processors: 3)
        for item: UInt16 in [0x0005, 0x000F] {
            firmware.select(item)
            #expect([firmware.read(), firmware.read()] == [3, 0])
        }
    }

    @Test func `steps and turns are not for that board`() throws {
        for change: (inout JobSpec) -> Void in [{ $0.turn = 5 }, { $0.budget.steps = 5 }] {
            var spec = SeveralVCPUs.spec(2, mode: .protected32)
            spec.board = .pc
            change(&spec)
            #expect(try Hardware.backend.get().profile.refusal(of: spec)?.rule == .invalidField)
        }
    }
}
