// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import GuestImage
import JobModel
import KVM
import Testing

@testable import VMRuntime

@Suite("A machine runs one job after another", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct ReuseTests {
    // MARK: What a job costs

    /// The calls to the vCPU of one job, from its preparation to its result, on a machine that has run this job before.
    private func calls(
        _ code: String, _ mode: GuestMode, isCounted: Bool = false, isDeterministic: Bool = false,
        end: Outcome = .halted
    ) async throws -> UInt64 {
        try await onThread {
            let reused = try ReusedMachine(isCounted: isCounted, isDeterministic: isDeterministic, of: mode)
            let start = try ReusedMachine.start(hex(code), JobSpec(mode: mode))
            _ = try reused.run(start)
            let before = VCPUCalls.count
            let result = try reused.run(start)
            #expect(result.outcome == end)
            return VCPUCalls.count - before
        }
    }

    @Test("A job that ends by HLT makes four calls to its vCPU", arguments: [GuestMode.real16, .protected32, .long64])
    func four(_ mode: GuestMode) async throws {
        // add al, bl; hlt. One entry, XCR0, XSAVE state, debug registers.
        let profile = try Hardware.backend.get().profile
        // In long mode one more puts back what SWAPGS may have left, and on hardware one leaves paging.
        let more: UInt64 = (profile.translations == .registers ? 1 : 0) + (profile.exchangesGS ? 1 : 0)
        #expect(try await calls("00 d8 f4", mode) == 4 + (mode == .long64 ? more : 0))
    }

    @Test("One that ends by an access makes one more, to complete it")
    func five() async throws {
        #expect(try await calls("e6 f4", .real16, end: .exited(code: 0)) == 5)
        // What SYSCALL needs stays as it is from one program to the next.
        #expect(try await calls("e6 f4", .user64, end: .exited(code: 0)) == 5)
    }

    @Test("Where a guest writes model-specific registers by itself, one more puts them back")
    func direct() async throws {
        #expect(try await calls("f4", .long64, isCounted: true) == 5)
        #expect(try await calls("f4", .long64, isDeterministic: true) == 5)
    }

    @Test("Each access on the way is one more entry")
    func accesses() async throws {
        // out 0x80, al; in al, 0x80; hlt
        #expect(try await calls("e6 80 e4 80 f4", .real16) == 6)
    }

    // MARK: Model-specific registers

    /// Runs `mov ecx, number; mov eax, low; mov edx, high; wrmsr; xor eax, eax; xor edx, edx; rdmsr; hlt`, with a HLT in place of
    /// the writing or the reading, and says what ended it.
    private func access(
        _ number: UInt32, writing value: UInt64?, on reused: ReusedMachine
    ) throws -> (value: UInt64, exits: UInt64)? {
        func little(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
        var code = [0xB9] + little(number)
        if let value {
            code += [0xB8] + little(UInt32(truncatingIfNeeded: value))
            code += [0xBA] + little(UInt32(truncatingIfNeeded: value >> 32)) + [0x0F, 0x30]
        }
        code += [0x31, 0xC0, 0x31, 0xD2, 0x0F, 0x32, 0xF4]
        let result = try reused.run(try ReusedMachine.start(code, JobSpec(mode: .long64)))
        // Without an interrupt table a #GP is a triple fault.
        guard result.outcome == .halted, let registers = result.registers else { return nil }
        return (registers.rdx << 32 | registers.rax & 0xFFFF_FFFF, result.exits.other)
    }

    /// SYSENTER_EIP, PAT, LSTAR, KERNEL_GS_BASE.
    private static let writable: [(UInt32, UInt64)] = [
        (0x176, 0x1234_5678), (0x277, 0x0007_0106_0007_0106), (0xC000_0082, 0x7FFF_0000_1000),
        (0xC000_0102, 0xFFFF_8000_0000_1000),
    ]

    @Test("What a guest writes it reads again, counted or not, and the next one does not", arguments: [false, true])
    func writable(isCounted: Bool) async throws {
        try await onThread {
            let reused = try ReusedMachine(isCounted: isCounted)
            for (number, value) in Self.writable {
                let initial = try #require(try self.access(number, writing: nil, on: reused)).value
                let written = try #require(try self.access(number, writing: value, on: reused))
                #expect(written.value == value)
                // By way of the worker: one exit to write, one to read, and HLT.
                #expect(written.exits == (isCounted ? 1 : 3))
                #expect(try self.access(number, writing: nil, on: reused)?.value == initial)
            }
        }
    }

    @Test("A value that the register cannot have is a #GP, counted or not", arguments: [false, true])
    func refusedValue(isCounted: Bool) async throws {
        try await onThread {
            let reused = try ReusedMachine(isCounted: isCounted)
            // LSTAR takes canonical addresses only.
            #expect(try self.access(0xC000_0082, writing: 1 << 63, on: reused) == nil)
            #expect(!reused.machine.mustRetire)
        }
    }

    @Test("What SWAPGS leaves behind is put back as well")
    func exchange() async throws {
        try await onThread {
            let reused = try ReusedMachine()
            // mov ecx, GS_BASE; mov eax, 0x1234; xor edx, edx; wrmsr; swapgs; hlt
            let image = hex("b9 01 01 00 c0 b8 34 12 00 00 31 d2 0f 30 0f 01 f8 f4")
            let result = try reused.run(try ReusedMachine.start(image, JobSpec(mode: .long64)))
            let exchanges = try Hardware.backend.get().profile.exchangesGS
            #expect((result.outcome == .halted) == exchanges, "ended as \(result.outcome)")
            #expect(try reused.captured().modelSpecific[0xC000_0102] == (exchanges ? 0x1234 : 0))
            #expect(try self.access(0xC000_0102, writing: nil, on: reused)?.value == 0)
        }
    }

    @Test("A guest that goes to long mode for it and back leaves nothing either")
    func exchangeInBetween() async throws {
        try await onThread {
            let reused = try ReusedMachine()
            // mov ecx, EFER; rdmsr; or eax, 0x100; wrmsr; and eax, ~0x100; wrmsr; hlt: the way there is what is noted.
            let image = hex("66b9 800000c0 0f32 660d 00010000 0f30 6625 fffeffff 0f30 f4")
            let result = try reused.run(try ReusedMachine.start(image, JobSpec()))
            #expect(result.outcome == .halted)
            let before = VCPUCalls.count
            try reused.prepare(try ReusedMachine.start(hex("f4"), JobSpec()))
            #expect(VCPUCalls.count - before == 4, "XCR0, XSAVE state, debug registers, and model-specific registers")
        }
    }

    /// Memory types, a machine-check bank, TSC_ADJUST, TSC_AUX, KVM's clocks, steal time and the end of an interrupt.
    private static let denied: [UInt32] = [
        0x200, 0x20F, 0x250, 0x268, 0x2FF, 0x402, 0x403, 0x3B, 0xC000_0103, 0x4B56_4D00, 0x4B56_4D01, 0x4B56_4D03,
        0x4B56_4D04, 0x11, 0x12, 0x10, 0x1B, 0x1A0,
    ]

    @Test("What no reset would find is a #GP to write, counted or not", arguments: [false, true])
    func denied(isCounted: Bool) async throws {
        try await onThread {
            let reused = try ReusedMachine(isCounted: isCounted)
            for number in Self.denied {
                #expect(try self.access(number, writing: 0, on: reused) == nil, "\(String(number, radix: 16))")
            }
        }
    }

    @Test("What holds nothing of a guest's can be read, without leaving the guest", arguments: [false, true])
    func readable(isCounted: Bool) async throws {
        try await onThread {
            let reused = try ReusedMachine(isCounted: isCounted)
            for number in [0x10, 0x1B, 0x8B, 0xFE, 0x1A0] as [UInt32] {
                #expect(try self.access(number, writing: nil, on: reused)?.exits == 1, "\(String(number, radix: 16))")
            }
        }
    }

    @Test("An exit budget bounds accesses to registers, as it does others")
    func exitBudget() async throws {
        try await onThread {
            let reused = try ReusedMachine()
            // mov ecx, 0x174; again: rdmsr; jmp again
            let start = try ReusedMachine.start(hex("b9 74 01 00 00 0f 32 eb fc"), JobSpec(mode: .long64))
            let result = try reused.run(start, Budget(wallTime: .seconds(200), exits: 10))
            #expect(result.outcome == .exhausted(.exits, limit: 10, used: 10))
            #expect(result.registers?.rip == 0x10_0007, "the last one is complete")
            #expect(!reused.machine.mustRetire)
        }
    }

    // MARK: When it must not be used again

    @Test("State that the processor refuses is told, and the machine is retired")
    func refusedState() async throws {
        try await onThread {
            let reused = try ReusedMachine()
            var spec = JobSpec(mode: .long64)
            spec.controls = [.cr3: 0xF_FFFF_FFFF_F000]
            let result = try reused.run(try ReusedMachine.start([0x90], spec))
            guard case .hostError(let text) = result.outcome else {
                Issue.record("ended as \(result.outcome)")
                return
            }
            #expect(text.contains("KVM_SET_SREGS refused"))
            #expect(reused.machine.mustRetire)
        }
    }

    @Test("A string of outputs that is cut off is completed up to a bound, and beyond it the machine is retired")
    func trailingParts() async throws {
        try await onThread {
            for (count, isTooLong) in [(UInt8(40), false), (200, true)] {
                let reused = try ReusedMachine()
                // mov cx, count; mov dx, 0x80; rep outsb; hlt
                let image: [UInt8] = [0xB9, count, 0, 0xBA, 0x80, 0, 0xF3, 0x6E, 0xF4]
                let start = try ReusedMachine.start(image, JobSpec())
                let result = try reused.run(start, Budget(wallTime: .seconds(200), exits: 1))
                #expect(result.outcome == .exhausted(.exits, limit: 1, used: 1))
                // Elements that KVM enters the guest for, or gathers into one exit, do not trail.
                let done = try UInt64(count) - #require(result.registers).rcx
                guard !reused.machine.mustRetire else {
                    #expect(isTooLong && done >= UInt64(VirtualCPU.maximumTrailingParts))
                    continue
                }
                #expect(done > 0)
                // mov al, 7; out 0xf4, al
                let next = try reused.run(try ReusedMachine.start(hex("b0 07 e6 f4"), JobSpec()))
                #expect(next.outcome == .exited(code: 7) && next.exits.io == 1)
            }
        }
    }

    @Test("A triple fault that a kick came upon is taken back, or the machine is retired", arguments: [false, true])
    func tripleFault(isTaken: Bool) async throws {
        try await onThread {
            let reused = try ReusedMachine(without: isTaken ? [] : [.tripleFaultEvent])
            let start = try ReusedMachine.start(hex("eb fe"), JobSpec())
            let result = try reused.run(start, Budget(wallTime: .milliseconds(100)))
            guard case .exhausted(.wallTime, _, _) = result.outcome else {
                Issue.record("ended as \(result.outcome)")
                return
            }
            #expect(reused.machine.mustRetire == !isTaken)
        }
    }

    @Test("After any ordinary end the machine stays in use")
    func ordinaryEnds() async throws {
        try await onThread {
            let reused = try ReusedMachine()
            for name in ["add", "hello", "poison-long64", "poison-real16", "poison-user64", "poison-avx512"] {
                _ = try reused.run(try ReusedMachine.start(name))
                #expect(!reused.machine.mustRetire, "\(name)")
            }
        }
    }

    // MARK: State that is taken along

    @Test("A captured state goes on elsewhere, in another machine of the kind")
    func capture() async throws {
        try await onThread {
            let (first, second) = (try ReusedMachine(), try ReusedMachine())
            // mov ecx, 0x174; mov eax, 0x1230; xor edx, edx; wrmsr; mov ebx, 7; out 0x80, al; rdmsr; add eax, ebx; hlt
            let image = hex("b9 74 01 00 00 b8 30 12 00 00 31 d2 0f 30 bb 07 00 00 00 e6 80 31 c0 0f 32 01 d8 f4")
            let start = try ReusedMachine.start(image, JobSpec(mode: .long64))
            try first.prepare(start)
            guard case .msrWrite(0x174, 0x1230) = try first.enterOnce() else { throw Missing.exit }
            try first.machine.current.vcpu.serveMSRWrite(0x174, 0x1230)
            guard case .portOut = try first.enterOnce() else { throw Missing.exit }
            #expect(throws: KVMError.unexpectedReply(.run)) { _ = try first.captured() }
            #expect(try first.settled())
            let state = try first.captured()
            #expect(state.modelSpecific[0x174] == 0x1230 && state.registers.rbx == 7)
            try second.prepare(start)
            try second.machine.current.vcpu.load(state)
            guard case .msrRead(0x174) = try second.enterOnce() else { throw Missing.exit }
            try second.machine.current.vcpu.serveMSRRead(0x174)
            #expect(try second.enterOnce() == .halt)
            #expect(try second.captured().registers.rax == 0x1237)
            // And what it left is gone again.
            #expect(try self.access(0x174, writing: nil, on: second)?.value == 0)
        }
    }

    private enum Missing: Error { case exit }
}

extension ReusedMachine {
    // The test macros take copyable values apart, and a vCPU cannot be copied.
    fileprivate func captured() throws -> VCPUState { try machine.current.vcpu.capture() }
    fileprivate func settled() throws -> Bool { try machine.current.vcpu.settle() == nil }
}
