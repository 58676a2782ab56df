// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import GuestImage
import JobModel
import KVM
import Testing

@testable import VMRuntime

@Suite("Guests run to their ends", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct RunningTests {
    @Test("The classic example prints 4")
    func classic() async throws {
        let image = hex("00 d8 04 30 ba f8 03 ee b0 0a ee f4")
        let run = try await Run.of(image, JobSpec(registers: [.rax: 2, .rbx: 2]))
        #expect(run.text == "4\n")
        let result = try run.result
        #expect(result.outcome == .halted)
        #expect(result.registers?.rip == 0x1000 + UInt64(image.count))
        #expect(result.steps == nil)
    }

    @Test("Metered or not, the same end; one step less stops at the HLT", arguments: [7, 8, 9] as [UInt64])
    func exactEnd(budget: UInt64) async throws {
        let image = hex("00 d8 04 30 ba f8 03 ee b0 0a ee f4")  // 7 instructions
        let spec = JobSpec(registers: [.rax: 2, .rbx: 2], budget: Budget(steps: budget))
        let result = try await Run.of(image, spec).result
        #expect(result.outcome == .halted)
        #expect(result.steps == 7)
        #expect(result.meter == .exact)
        #expect(result.registers?.rip == 0x1000 + UInt64(image.count))
        let short = try await Run.of(image, JobSpec(budget: Budget(steps: 6))).result
        #expect(short.outcome == .exhausted(.steps, limit: 6, used: 6))
        #expect(short.registers?.rip == 0x1000 + UInt64(image.count) - 1)
    }

    @Test("user64 prints and exits, metered and not", arguments: [nil, 1000] as [UInt64?])
    func userMode(steps: UInt64?) async throws {
        // mov edx, 0x3f8; mov al, 'A'; out dx, al; mov al, 7; out 0xf4, al
        let image = hex("ba f8 03 00 00 b0 41 ee b0 07 e6 f4")
        let run = try await Run.of(image, JobSpec(mode: .user64, budget: Budget(steps: steps)))
        #expect(run.text == "A")
        let result = try run.result
        #expect(result.outcome == .exited(code: 7))
        #expect(result.steps == steps.map { _ in 5 })
        #expect(result.registers?.rip == 0x10_0000 + UInt64(image.count))
    }

    @Test("A user64 program's exception is named", arguments: [nil, 1000] as [UInt64?])
    func userFault(steps: UInt64?) async throws {
        let image = hex("90 48 31 c0 48 ff c8 48 8b 00")  // nop; xor rax,rax; dec rax; mov rax,[rax]
        let result = try await Run.of(image, JobSpec(mode: .user64, budget: Budget(steps: steps))).result
        guard case .faulted(let fault) = result.outcome else {
            Issue.record("ended as \(result.outcome)")
            return
        }
        #expect(fault.rip == 0x10_0007)
        #expect(result.steps == steps.map { _ in 3 })
        #expect(result.registers?.rip == 0x10_0007)
        #expect(result.registers?.rsp == JobSpec.defaultMemoryBytes)
    }

    @Test("The wall-time budget ends a guest that spins", arguments: GuestMode.imageModes)
    func wallTime(mode: GuestMode) async throws {
        let spec = JobSpec(mode: mode, budget: Budget(wallTime: .milliseconds(30)))
        let result = try await Run.of(hex("eb fe"), spec).result
        guard case .exhausted(.wallTime, let limit, let used) = result.outcome else {
            Issue.record("ended as \(result.outcome)")
            return
        }
        #expect(limit == 30_000_000)
        #expect(used >= limit)
        #expect(result.registers != nil)
    }

    @Test("A cancelled guest stops")
    func cancel() async throws {
        let control = JobControl(hasInput: false)
        control.cancel(.client)
        let result = try await Run.of(hex("eb fe"), JobSpec(), control: control).result
        #expect(result.outcome == .cancelled(by: .client))
    }

    @Test("This machine's profile")
    func profile() throws {
        let profile = try Hardware.backend.get().profile
        print("profile: \(profile)")
        #expect(profile.modes[.real16] != nil)
    }
}
