// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import KVM
import Testing

@testable import VMRuntime

extension JobSpec {
    /// This job, deterministic and with a digest.
    fileprivate var deterministic: JobSpec {
        var spec = self
        (spec.isDeterministic, spec.report) = (true, [.digest])
        return spec
    }
}

/// 1000 runs were the same when this was written; `KVMJOB_DETERMINISM_RUNS` asks for as many again.
private let runCount = ProcessInfo.processInfo.environment["KVMJOB_DETERMINISM_RUNS"].flatMap(Int.init) ?? 100

@Suite("Deterministic jobs", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct DeterminismTests {
    private static let emulated: [GuestMode] = [.real16, .protected32, .long64]

    private func profile(_ mode: GuestMode) throws -> ModeDeterminism {
        try #require(try Hardware.backend.get().profile.determinism.modes[mode])
    }

    private func little(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }

    /// `mov eax, leaf; cpuid` and an end.
    private func cpuid(_ leaf: UInt32, _ mode: GuestMode) async throws -> CPUIDAnswer {
        let prefix: [UInt8] = mode == .real16 ? [0x66] : []
        let end: [UInt8] = mode == .user64 ? [0xE6, 0xF4] : [0xF4]
        let image = prefix + [0xB8] + little(leaf) + [0x0F, 0xA2] + end
        let registers = try #require(try await Run.of(image, JobSpec(mode: mode).deterministic).result.registers)
        func low(_ value: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: value) }
        return CPUIDAnswer(
            eax: low(registers.rax), ebx: low(registers.rbx), ecx: low(registers.rcx), edx: low(registers.rdx))
    }

    // MARK: What a guest can see

    @Test("CPUID answers by the table, but for the leaves that the profile names", arguments: GuestMode.imageModes)
    func processor(mode: GuestMode) async throws {
        let backend = try Hardware.backend.get()
        let unfixed = try profile(mode).unfixedLeaves
        // The processor's own answers may differ from one core to the next.
        let isNative = unfixed.contains(0)
        for leaf in isNative ? [0, 1] : DeterminismProbe.leaves {
            let answer = try await cpuid(leaf, mode)
            let table = backend.hypervisor.baselineAnswer(leaf: leaf)
            #expect((answer == table) == !unfixed.contains(leaf), "leaf \(leaf): \(answer), \(table)")
        }
    }

    @Test("Where KVM emulates a mode, it only adds features to the table", arguments: emulated)
    func addedFeatures(mode: GuestMode) async throws {
        #expect(Set(try profile(mode).unfixedLeaves).isSubset(of: [1, 0xD]))
        let (answer, table) = (try await cpuid(1, mode), try Hardware.backend.get().hypervisor.baselineAnswer(leaf: 1))
        #expect(answer.eax == table.eax && answer.ebx == table.ebx)
        #expect(answer.edx & table.edx == table.edx)
    }

    /// Vector 13 of the real-mode table at 0, then `mov ecx, number; rdmsr or wrmsr; hlt` at 0x1000; the handler is a HLT at
    /// 0x2000.
    private func access(_ number: UInt32, writes: Bool, deterministic: Bool) async throws -> UInt64? {
        var image = [UInt8](repeating: 0xF4, count: 0x2001 - 0x34)
        image.replaceSubrange(0..<4, with: [0x00, 0x20, 0, 0])
        let code = [0x66, 0xB9] + little(number) + [0x0F, writes ? 0x30 : 0x32, 0xF4]
        image.replaceSubrange((0x1000 - 0x34)..<(0x1000 - 0x34 + code.count), with: code)
        let spec = JobSpec(loadAddress: 0x34, entryPoint: 0x1000, registers: [.rsp: 0x8000])
        let result = try await Run.of(image, deterministic ? spec.deterministic : spec).result
        #expect(result.outcome == .halted)
        return result.registers?.rip
    }

    /// TSC, TSC_ADJUST, APIC base, MPERF, APERF, machine checks, MISC_ENABLE, two of the local APIC, KVM's clock in its old and
    /// new places, steal time, and TSC_AUX.
    private static let kept: [UInt32] = [
        0x10, 0x3B, 0x1B, 0xE7, 0xE8, 0x179, 0x1A0, 0x802, 0x839, 0x11, 0x12, 0x4B56_4D00, 0x4B56_4D01, 0x4B56_4D03,
        0x4000_0020, 0xC000_0103,
    ]

    @Test("Registers that tell the time or the machine are a #GP", arguments: kept, [false, true])
    func deniedRegisters(number: UInt32, writes: Bool) async throws {
        #expect(try await access(number, writes: writes, deterministic: true) == 0x2001)
    }

    @Test("Without determinism the time-stamp counter is there, so the test above could fail")
    func grantedRegister() async throws {
        #expect(try await access(0x10, writes: false, deterministic: false) == 0x1009)
    }

    @Test(
        "What the modes need can be read and written", arguments: [0x174, 0x277, 0xC000_0082, 0xC000_0100] as [UInt32])
    func allowedRegisters(number: UInt32) async throws {
        #expect(try await access(number, writes: false, deterministic: true) == 0x1009)
    }

    @Test("A guest goes from real to long mode all the same, which takes EFER")
    func modeSwitch() async throws {
        let guest = try GuestProgram.named("mode-switch")
        let result = try await Run.of(guest.image, guest.spec(Budget(steps: 1000)).deterministic).result
        #expect(result.outcome == .halted && result.steps == guest.steps)
    }

    @Test("No port is a clock: PIT, RTC and the speaker's gate read as nothing", arguments: GuestMode.imageModes)
    func ports(mode: GuestMode) async throws {
        // mov bl, 0xff; for each port: in al, port; and bl, al
        var image: [UInt8] = [0xB3, 0xFF]
        for port in [0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71] as [UInt8] { image += [0xE4, port, 0x20, 0xC3] }
        image += mode == .user64 ? [0xE6, 0xF4] : [0xF4]
        let result = try await Run.of(image, JobSpec(mode: mode).deterministic).result
        #expect(result.registers?.rbx == 0xFF && result.registers?.rax == 0xFF)
    }

    @Test("RDTSC and RDRAND at ring 3 are as the profile says")
    func ring3() async throws {
        for (image, isReadable) in [
            (hex("0f 31 e6 f4"), try profile(.user64).readsClock),
            (hex("0f c7 f0 e6 f4"), try profile(.user64).readsRandom),
        ] {
            let outcome = try await Run.of(image, JobSpec(mode: .user64).deterministic).result.outcome
            if case .exited = outcome {
                #expect(isReadable)
            } else {
                #expect(!isReadable && outcome.end == .faulted(13) || outcome.end == .faulted(6))
            }
        }
    }

    @Test(
        "A guest starts with fixed control registers, whatever this machine supports", arguments: GuestMode.imageModes)
    func controlRegisters(mode: GuestMode) async throws {
        let image: [UInt8] = mode == .user64 ? [0xE6, 0xF4] : [0xF4]
        let system = try #require(try await Run.of(image, JobSpec(mode: mode).deterministic).result.system)
        let expected: UInt64 =
            switch mode {
            case .real16, .protected32: 0
            case .long64: 0x620  // PAE, OSFXSR, OSXMMEXCPT
            case .user64, .linux: 0x624  // TSD too
            }
        #expect(system.cr4 == expected && system.cr8 == 0 && system.cr2 == 0 && system.apicBase == 0xFEE0_0900)
    }

    @Test("Debug registers and the floating-point control words have their values of a reset")
    func otherState() async throws {
        // mov rax, dr7; mov rbx, dr6; mov rcx, dr0; hlt
        let debug = try await Run.of(hex("0f 21 f8 0f 21 f3 0f 21 c1 f4"), JobSpec(mode: .long64).deterministic).result
        #expect(debug.registers?.rax == 0x400 && debug.registers?.rbx == 0xFFFF_0FF0 && debug.registers?.rcx == 0)
        // stmxcsr [rsp-8]; fnstcw [rsp-4]; mov ebx, [rsp-8]; movzx ecx, word [rsp-4]; movq rdx, xmm0; out 0xf4, al
        let image = hex("0f ae 5c 24 f8 d9 7c 24 fc 8b 5c 24 f8 0f b7 4c 24 fc 66 48 0f 7e c2 e6 f4")
        let floats = try await Run.of(image, JobSpec(mode: .user64).deterministic).result
        #expect(floats.registers?.rbx == 0x1F80 && floats.registers?.rcx == 0x37F && floats.registers?.rdx == 0)
    }

    // MARK: Runs

    /// Counts down, writes as it goes to a port, the console and memory, and asks CPUID.
    private func busy(_ mode: GuestMode) -> [UInt8] {
        switch mode {
        // mov cx, 200; mov [0x3000+cx], cl through bx; out 0xe9, al; out 0x80, al
        case .real16: hex("b9 c8 00 89 cb 88 8f 00 30 88 c8 e6 e9 e6 80 e2 f2 31 c0 0f a2 f4")
        case .protected32: hex("b9 c8 00 00 00 88 89 00 30 20 00 88 c8 e6 e9 e6 80 49 75 f1 31 c0 0f a2 f4")
        case .long64, .user64, .linux:
            hex("b9 c8 00 00 00 88 89 00 30 20 00 88 c8 e6 e9 e6 80 ff c9 75 f0 31 c0 0f a2")
                + (mode == .user64 ? [0xE6, 0xF4] : [0xF4])
        }
    }

    @Test("Many runs have one digest, metered or not", arguments: GuestMode.imageModes, [nil, 100_000] as [UInt64?])
    func oneDigest(mode: GuestMode, steps: UInt64?) async throws {
        var spec = JobSpec(mode: mode, memoryBytes: 4 << 20, budget: Budget(steps: steps)).deterministic
        spec.reportsPortWrites = true
        let slot = Slot(number: 0, backend: try Hardware.backend.get())
        defer { slot.stop() }
        var digests: Set<[UInt8]?> = []
        for _ in 0..<(mode == .user64 && steps != nil ? min(runCount, 20) : runCount) {
            let result = try await Run.of(busy(mode), spec, slot: slot).result
            #expect(mode == .user64 ? result.outcome.name == "exited" : result.outcome == .halted)
            #expect(result.outputBytes == 200 && result.unclaimedPortWrites == 200)
            digests.insert(result.digest)
        }
        #expect(digests.count == 1 && digests.first??.count == 32)
    }

    @Test(
        "Steps are counted as without determinism", .serialized,
        arguments: GuestProgram.counted.filter { guest in
            // AVX is not in the fixed table, and RDTSC is kept from ring 3 where that can be done; a trap for each step is slow.
            let isQuick = guest.mode != .user64 || guest.steps ?? 0 < 2000
            return isQuick && !guest.name.hasSuffix("-vectors") && !(guest.readsTime && guest.mode == .user64)
        })
    func meters(_ guest: GuestProgram) async throws {
        let spec = guest.spec(Budget(steps: StepExactnessTests.plenty)).deterministic
        let result = try await Run.of(guest.image, spec).result
        #expect(result.outcome.end == guest.end && result.steps == guest.steps && result.meter == .exact)
    }

    @Test("A machine that lacks something for it refuses deterministic jobs, and only those")
    func obstacle() throws {
        var profile = try Hardware.backend.get().profile
        profile.determinism.obstacle = "it lacks SSE2"
        let refusal = profile.refusal(of: JobSpec().deterministic)
        #expect(refusal?.rule == .modeUnavailable && refusal?.message.contains("it lacks SSE2") == true)
        #expect(profile.refusal(of: JobSpec()) == nil)
    }
}
