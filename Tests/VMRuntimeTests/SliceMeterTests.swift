// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import KVM
import Testing

@testable import VMRuntime

/// The same machine with no single steps before the first slice, so that the shortest guest runs in slices.
enum Eager {
    static let backend: Result<Backend, KVMError> = Result { () throws(KVMError) in
        try Backend { $0.stepsBeforeSlices = 0 }
    }

    static var hasCounter: Bool {
        guard case .success(let backend) = backend else { return false }
        return !backend.profile.counters.isEmpty
    }

    static func run(_ image: [UInt8], _ spec: JobSpec, input: [UInt8] = []) async throws -> Run {
        let backend = try backend.get()
        let slot = Slot(number: 0, backend: backend)
        defer { slot.stop() }
        return try await Run.of(image, spec, input: input, slot: slot)
    }
}

@Suite("A counter's slices", .enabled(if: Eager.hasCounter, "no counter can be had on this machine"), .serialized)
struct SliceMeterTests {
    static let plenty: UInt64 = 1 << 40

    @Test("A guest run in slices counts to its known number of steps", arguments: GuestProgram.counted)
    func known(_ guest: GuestProgram) async throws {
        let sliced = try await Eager.run(guest.image, guest.spec(Budget(steps: Self.plenty)))
        let result = try sliced.result
        #expect(result.outcome.end == guest.end)
        #expect(result.steps == guest.steps)
        #expect(result.meter == .exact)
        var spec = guest.spec(Budget(steps: Self.plenty))
        spec.meter = .stepped
        let stepped = try await Run.of(guest.image, spec)
        #expect(sliced.console == stepped.console)
        guard !guest.readsTime else { return }
        #expect(try result.registers == stepped.result.registers)
        #expect(try result.system == stepped.result.system)
    }

    /// Real mode: `mov ecx, n; again: …; dec ecx; jnz again; hlt`, n in 32 bits.
    private func loop(_ count: UInt32, _ body: String) -> [UInt8] {
        let body = hex(body)
        let counter = (0..<4).map { UInt8(truncatingIfNeeded: count >> ($0 * 8)) }
        let back = UInt8(truncatingIfNeeded: -(body.count + 4))
        return hex("66 B9") + counter + body + hex("66 49 75") + [back] + hex("F4")
    }

    private func spec(_ steps: UInt64, _ meter: MeterRequest? = nil) -> JobSpec {
        var spec = JobSpec(mode: .real16, budget: Budget(steps: steps, wallTime: .seconds(60)))
        spec.meter = meter
        return spec
    }

    @Test func `a million instructions take few exits and count exactly`() async throws {
        let result = try await Run.of(loop(500_000, ""), spec(Self.plenty)).result
        #expect(result.outcome == .halted)
        #expect(result.steps == 1_000_002)
        #expect(result.meter == .exact)
        #expect(result.exits.total < 2000)
    }

    @Test(
        "A long loop stops at its budget with the state that stepping gives",
        arguments: [1_300, 8_100, 20_001, 33_333, 60_000] as [UInt64])
    func stops(steps: UInt64) async throws {
        // push cx; pop ax; inc word [0x3000]
        let image = loop(1_000_000, "51 58 FF 06 00 30")
        let sliced = try await Run.of(image, spec(steps)).result
        let stepped = try await Run.of(image, spec(steps, .stepped)).result
        #expect(sliced.outcome == .exhausted(.steps, limit: steps, used: steps))
        #expect(sliced.steps == stepped.steps)
        #expect(sliced.meter == .exact)
        #expect(sliced.registers == stepped.registers)
        #expect(steps < 20_000 || sliced.exits.debug < stepped.exits.debug)
    }

    @Test func `faults among many instructions do not count`() async throws {
        // The handler of #DE at 0x1100 steps over the DIV: pop ax; inc ax; inc ax; push ax; iret.
        // mov word [0], 0x1100; then a loop of 3,000 with a DIV by zero in each: xor bl, bl; div bl.
        var image = hex("C7 06 00 00 00 11 C7 06 02 00 00 00") + loop(3000, "30 DB F6 F3")
        image += [UInt8](repeating: 0x90, count: 0x100 - image.count) + hex("58 40 40 50 CF")
        let result = try await Run.of(image, spec(Self.plenty)).result
        #expect(result.outcome == .halted)
        // Two stores, the counter, HLT; each turn XOR, five of the handler, DEC, JNZ.
        #expect(result.steps == 2 + 1 + 3000 * 8 + 1)
        #expect(result.meter == .exact)
    }

    @Test func `one fault behind many instructions does not count`() async throws {
        var image = hex("C7 06 00 00 00 11 C7 06 02 00 00 00") + loop(200_000, "").dropLast() + hex("30 DB F6 F3 F4")
        image += [UInt8](repeating: 0x90, count: 0x100 - image.count) + hex("58 40 40 50 CF")
        let result = try await Run.of(image, spec(Self.plenty)).result
        #expect(result.outcome == .halted)
        #expect(result.steps == 2 + 1 + 400_000 + 1 + 5 + 1)
        #expect(result.meter == .exact)
        #expect(result.exits.debug < 20_000)
    }

    @Test func `repeated strings count once each`() async throws {
        // mov dx, cx; mov cx, 5; mov di, 0x3000; rep stosb; mov cx, dx
        let result = try await Run.of(loop(2000, "89 CA B9 05 00 BF 00 30 F3 AA 89 D1"), spec(Self.plenty)).result
        #expect(result.outcome == .halted)
        #expect(result.steps == 2 + 2000 * 7)
        #expect(result.meter == .exact)
    }

    @Test func `a repeated string that the guest writes itself counts once each`() async throws {
        // A loop of 50,000, then F3 AA is put together in memory at 0x2000 with a RET behind it, and called.
        let image =
            loop(50_000, "").dropLast()
            + hex("C6 06 00 20 F3 C6 06 01 20 AA C6 06 02 20 C3 B9 0A 00 BF 00 30 B8 00 20 FF D0 F4")
        let result = try await Run.of(image, spec(Self.plenty)).result
        #expect(result.outcome == .halted)
        #expect(result.steps == 1 + 100_000 + 3 + 3 + 1 + 2 + 1)
        #expect(result.meter == .exact)
    }

    @Test func `input and output are those of a stepped run, and nothing of a slice taken back gets out`() async throws
    {
        // in al, dx from COM1; out 0xE9, al; and a fault in each turn, so that most slices are taken back.
        var image = hex("C7 06 00 00 00 11 C7 06 02 00 00 00 BA F8 03") + loop(200, "EC E6 E9 30 DB F6 F3")
        image += [UInt8](repeating: 0x90, count: 0x100 - image.count) + hex("58 40 40 50 CF")
        let input = (0..<200).map { UInt8(truncatingIfNeeded: $0 * 7) }
        var spec = spec(Self.plenty)
        spec.hasInput = true
        let run = try await Eager.run(image, spec, input: input)
        #expect(run.console == input)
        #expect(try run.result.steps == 3 + 1 + 200 * 10 + 1)
        #expect(try run.result.exits.io == 400)
    }

    /// These bytes among harmless ones.
    private func isSuspect(_ text: String) -> Bool {
        let bytes = hex(text)
        let padded = [UInt8](repeating: 0x90, count: 16 - bytes.count) + bytes
        return SuspectCode.isIn(
            [0, 8].map { start in (0..<8).reduce(0) { $0 | UInt64(padded[start + $1]) << ($1 * 8) } })
    }

    @Test func `what could be a repeated string is found at any place and in any dress`() {
        #expect(isSuspect("90 F3 A4 90"))
        #expect(isSuspect("90 F2 66 2E AF 90"))
        #expect(isSuspect("F3 48 AB"))
        #expect(isSuspect("66 F3 67 6E"))
        #expect(isSuspect("90 90 F3"), "it may go on in the next page")
        #expect(isSuspect("90 0F"))
        #expect(isSuspect("0F 30"), "WRMSR")
        #expect(isSuspect("0F 23 C0"), "MOV DR0")
        #expect(!isSuspect("F3 90 A4"), "PAUSE and a MOVSB without a prefix")
        #expect(!isSuspect("A4 F3 C3 AA 0F A2 90"))
    }
}

@Suite("A meter is exact, or refused", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct MeterRequestTests {
    private func spec(_ meter: MeterRequest?, steps: UInt64? = 100) -> JobSpec {
        var spec = JobSpec(mode: .real16, budget: Budget(steps: steps))
        spec.meter = meter
        return spec
    }

    @Test func `where steps are counted with an error, a job that wants them exact is refused with the reason`() throws
    {
        let backend = try Backend { profile in
            profile.modes[.real16] = .debugExits
            profile.stepsHandlers = false
        }
        #expect(backend.profile.refusal(of: spec(nil)) == nil)
        for meter in MeterRequest.allCases {
            let refusal = try #require(backend.profile.refusal(of: spec(meter)))
            #expect(refusal.rule == .modeUnavailable)
            #expect(refusal.message.contains("exception handlers"))
        }
    }

    @Test func `where steps cannot be counted, a job that wants them counted is refused`() throws {
        let backend = try Backend { $0.modes[.real16] = .unavailable }
        #expect(backend.profile.refusal(of: spec(nil, steps: nil)) == nil)
        #expect(backend.profile.refusal(of: spec(nil))?.rule == .modeUnavailable)
        #expect(backend.profile.refusal(of: spec(.exact, steps: nil))?.rule == .modeUnavailable)
    }

    @Test func `a meter without a budget counts to the end`() async throws {
        let result = try await Run.of(hex("B9 05 00 49 75 FD F4"), spec(.exact, steps: nil)).result
        #expect(result.outcome == .halted)
        #expect(result.steps == 12)
    }
}
