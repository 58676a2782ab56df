// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CKVM
import Foundation
import GuestImage
import JobModel
import Testing

@testable import KVM
@testable import VMRuntime

/// A way to leave something behind in a machine.
enum Poison: Sendable, Hashable, CaseIterable {
    case long64, user64, avx, avx512, fsgsbase, real16, protected32
    case halfIn, halfLoad, halfInString, halfOut
    case stepped, shadow, kick, interruptWindow
    case tables, hiddenHalt

    /// A job that ends by itself.
    private var guest: String? {
        switch self {
        case .long64, .user64, .avx, .avx512, .fsgsbase, .real16, .protected32: "poison-\(self)"
        case .tables: "poison-tables"
        case .halfIn, .halfLoad, .halfInString, .halfOut, .stepped, .shadow, .kick, .interruptWindow, .hiddenHalt: nil
        }
    }

    /// A job that is left in the middle: its mode and code.
    private var half: (mode: GuestMode, code: String)? {
        switch self {
        case .halfIn: (.real16, "b8 c2 5e e4 10 f4")  // mov ax, 0x5ec2; in al, 0x10
        case .halfLoad: (.protected32, "a1 00 00 00 d0 f4")  // mov eax, [0xd0000000]
        // mov edi, 0x150000; mov ecx, 3; mov edx, 0x10; rep insb
        case .halfInString: (.protected32, "bf 00 00 15 00 b9 03 00 00 00 ba 10 00 00 00 f3 6c f4")
        case .halfOut: (.long64, "b8 c2 5e 00 00 e7 10 f4")  // mov eax, 0x5ec2; out 0x10, eax
        default: nil
        }
    }

    /// The mode of a job that would find it.
    var victim: GuestMode { self == .tables ? .user64 : .real16 }

    /// Runs a job that leaves it.
    func apply(to reused: ReusedMachine) throws {
        if let guest {
            _ = try reused.run(try ReusedMachine.start(guest))
            return
        }
        if let half {
            try reused.prepare(try ReusedMachine.start(hex(half.code), JobSpec(mode: half.mode)))
            let exit = try reused.enterOnce()
            reused.answer(exit, with: 0xA5)
            return
        }
        if self == .hiddenHalt {
            try reused.prepare(try ReusedMachine.start(HiddenHalt.divide, HiddenHalt.divideSpec))
            try reused.machine.current.vcpu.setSingleStep(true)
            for _ in 0..<2 { _ = try reused.enterOnce() }
            return
        }
        // sti; nop; hlt
        try reused.prepare(try ReusedMachine.start(hex("fb 90 f4"), JobSpec()))
        switch self {
        case .stepped, .shadow:
            try reused.machine.current.vcpu.setSingleStep(true)
            _ = try reused.enterOnce()
            if self == .shadow { try reused.machine.current.vcpu.setSingleStep(false) }
        case .kick: reused.kick()
        default: reused.machine.current.vcpu.runData.pointee.request_interrupt_window = 1
        }
    }
}

/// Guests whose HLT runs together with another instruction where a software backend steps them.
enum HiddenHalt {
    /// A divide error whose handler, at 0x1010, is a HLT.
    static let divide: [UInt8] = {
        var image = [UInt8](repeating: 0, count: 0x1011)
        image.replaceSubrange(0..<4, with: [0x10, 0x10, 0, 0])
        // xor bl, bl; div bl
        image.replaceSubrange(0x1000..<0x1004, with: [0x30, 0xDB, 0xF6, 0xF3])
        image[0x1010] = 0xF4
        return image
    }()

    static let divideSpec = JobSpec(mode: .real16, loadAddress: 0, entryPoint: 0x1000, budget: Budget(steps: 100))
}

extension ReusedMachine {
    /// Puts a value where the guest will read it.
    fileprivate func answer(_ exit: VMExit, with byte: UInt8) {
        switch exit {
        case .portIn(let access):
            for index in 0..<access.count { machine.current.vcpu.setPortValue(UInt32(byte), at: index, of: access) }
        case .mmioRead: machine.current.vcpu.setMMIOValue(UInt64(byte))
        default: return
        }
    }

    /// As a timer that fires behind the job's end.
    fileprivate func kick() {
        machine.current.vcpu.attach()
        machine.current.vcpu.kicker.kick()
        machine.current.vcpu.detach()
    }
}

/// A machine by what it is made for and what the kernel is taken to lack.
struct Making: Sendable, CustomTestStringConvertible {
    let testDescription: String
    var isCounted = false
    var isDeterministic = false
    var missing: Set<Capability> = []

    func machine() throws -> ReusedMachine {
        try ReusedMachine(isCounted: isCounted, isDeterministic: isDeterministic, without: missing)
    }

    static let usual = Making(testDescription: "usual")
    static let all = [
        usual, Making(testDescription: "counted", isCounted: true),
        Making(testDescription: "deterministic", isDeterministic: true),
        Making(testDescription: "without KVM_CAP_SYNC_REGS", missing: [.syncRegisters]),
        Making(testDescription: "without KVM_CAP_X86_USER_SPACE_MSR", missing: [.userSpaceMSR]),
        Making(testDescription: "without MSR filters", missing: [.msrFilter]),
        Making(testDescription: "with nothing", isCounted: true, missing: [.msrFilter, .syncRegisters, .largeXSAVE]),
    ]
}

@Suite("A machine forgets", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct ResetTests {
    /// Short jobs whose first exit tells whether they run undisturbed.
    private static func clean(_ mode: GuestMode) throws -> StartingPoint {
        let code = mode == .user64 ? "90 90 e6 f4" : "90 90 f4"
        var spec = JobSpec(mode: mode)
        // Interrupts on: what waits for them would show.
        spec.registers[.rflags] = 0x202
        return try ReusedMachine.start(hex(code), spec)
    }

    /// What of a machine that has been through this is not as on a new one.
    private static func leaks(
        _ making: Making, _ poison: Poison, omitting omitted: ResetStep? = nil, into mode: GuestMode = .real16
    ) throws -> Set<String> {
        let (new, reused) = (try making.machine(), try making.machine())
        try poison.apply(to: reused)
        reused.wipeMemory()
        try new.prepare(try clean(mode))
        // What is left of stepping the machine notices by itself.
        do { try reused.prepare(try clean(mode), omitting: omitted) } catch { return ["\(error)"] }
        return try Sight(of: reused).differences(from: try Sight(of: new))
    }

    @Test("The next job finds the vCPU as new, whatever ran before", arguments: Making.all)
    func forgets(_ making: Making) async throws {
        try await onThread {
            for poison in Poison.allCases {
                for mode in GuestMode.imageModes {
                    let leaks = try Self.leaks(making, poison, into: mode)
                    #expect(leaks.isEmpty, "\(poison), then \(mode.name)")
                }
            }
        }
    }

    /// What cannot be seen without these steps, and why.
    private static let unseen: [ResetStep: String] =
        ([
            .activity:
                "without an interrupt controller in the kernel a vCPU runs whatever happens to it, and KVM_SET_MP_STATE "
                + "refuses every other state",
            .hiddenHalt: countsEmulation ? nil : "a processor steps a HLT by itself",
        ] as [ResetStep: String?]).compactMapValues { $0 }

    private static let countsEmulation = (try? Hardware.backend.get().profile.countsEmulation) ?? false

    @Test("Without any one step something is left", arguments: ResetStep.allCases, [Making.all[0], Making.all[3]])
    func mutation(_ step: ResetStep, _ making: Making) async throws {
        try await onThread {
            var found: [Poison: Set<String>] = [:]
            for poison in Poison.allCases {
                let leaks = try Self.leaks(making, poison, omitting: step, into: poison.victim)
                if !leaks.isEmpty { found[poison] = leaks }
            }
            #expect(found.isEmpty == (Self.unseen[step] != nil), "\(step)")
        }
    }

    // MARK: What a guest sees

    /// What a guest tells of itself: its registers at the end, and the memory that it wrote.
    private static func told(_ probe: String, on reused: ReusedMachine) throws -> [UInt8] {
        let result = try reused.run(try ReusedMachine.start(probe))
        let registers = try #require(result.registers)
        return RegisterName.allCases.flatMap { name in withUnsafeBytes(of: registers[name]) { Array($0) } }
            + reused.memory(at: 0x20_0000, count: 0x1000)
    }

    @Test(
        "A guest that looks for it finds nothing either", arguments: Making.all,
        ["probe-long64", "probe-user64", "probe-avx512"])
    func probes(_ making: Making, probe: String) async throws {
        try await onThread {
            let (new, reused) = (try making.machine(), try making.machine())
            for poison in Poison.allCases {
                try poison.apply(to: reused)
                reused.wipeMemory()
            }
            let (seen, expected) = (try Self.told(probe, on: reused), try Self.told(probe, on: new))
            let places = zip(seen, expected).enumerated().filter { $0.element.0 != $0.element.1 }.map(\.offset)
            #expect(places.isEmpty && seen.count == expected.count)
        }
    }

    // MARK: The poison is one

    @Test("Each guest that poisons changes what it is for")
    func poisons() async throws {
        try await onThread {
            let reused = try Making(testDescription: "", missing: [.msrFilter]).machine()
            let pristine = reused.machine.current.vcpu.pristine
            _ = try reused.run(try ReusedMachine.start("poison-long64"))
            let state = try reused.machine.current.vcpu.capture()
            #expect(state.system.cr8 == 5 && state.debug.db.1 == 0x5EC2_E75E_C2E7 && state.debug.dr7 & 2 != 0)
            #expect(state.system.gdt.limit != pristine.system.gdt.limit && state.system.cr2 == 0x5EC2_E75E_C2E7)
            for number in [0x174, 0x175, 0x176, 0x277, 0x200, 0x2FF, 0xC000_0081, 0xC000_0102, 0x4B56_4D01] as [UInt32]
            {
                #expect(state.modelSpecific[number] != pristine.modelSpecific[number], "\(String(number, radix: 16))")
            }
            _ = try reused.run(try ReusedMachine.start("poison-user64"))
            let extended = try reused.machine.current.vcpu.capture().extended.bytes
            #expect(Array(extended[24..<28]) == [0x80, 0x9F, 0, 0], "MXCSR")
            #expect(Array(extended[160..<166]) == [0xE7, 0xC2, 0x5E, 0xE7, 0xC2, 0x5E], "XMM0")
        }
    }

    @Test("AVX-512 is poisoned where the processor has it", .enabled(if: Self.hasAVX512, "no AVX-512"))
    func avx512() async throws {
        try await onThread {
            let reused = try ReusedMachine()
            guard try reused.run(try ReusedMachine.start("poison-avx512")).outcome == .exited(code: 0xE7) else {
                return
            }
            let secret: [UInt8] = [0xE7, 0xC2, 0x5E, 0xE7, 0xC2, 0x5E, 0, 0]
            let bytes = try reused.machine.current.vcpu.capture().extended.bytes
            let count = stride(from: 576, to: bytes.count - 8, by: 8).count { Array(bytes[$0..<($0 + 8)]) == secret }
            // 16 upper halves of YMM, 16 of ZMM, 16 whole ZMM and 8 masks.
            #expect(count == 16 * 2 + 16 * 4 + 16 * 8 + 8)
        }
    }

    static let hasAVX512 = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.contains("avx512f") ?? false

    // MARK: Memory

    @Test(
        "The next job finds memory as new, every page of it",
        arguments: Making.all, GuestMode.imageModes)
    func memory(_ making: Making, mode: GuestMode) async throws {
        try await onThread {
            let (new, reused) = (try making.machine(), try making.machine())
            for poison in [Poison.long64, .user64, .real16, .protected32, .halfInString] {
                try poison.apply(to: reused)
                try reused.prepare(try Self.clean(mode))
                try new.prepare(try Self.clean(mode))
                let isSame = reused.memory() == new.memory()
                #expect(isSame, "\(poison)")
            }
        }
    }

    @Test("Without a filter the host writes into no later job's memory")
    func hostWrites() async throws {
        try await onThread {
            let reused = try Making(testDescription: "", missing: [.msrFilter]).machine()
            _ = try reused.run(try ReusedMachine.start("poison-long64"))
            let areas = reused.memory(at: 0x30_0000, count: 0x5000)
            #expect(areas.enumerated().contains { $0.offset % 4096 < 0xFFC && $0.element != 0 }, "the host wrote")
            try reused.prepare(try Self.clean(.real16))
            reused.wipeMemory()
            _ = reused.machine.vm.memory.write(hex("90 90 f4"), at: 0x1000)
            #expect(try reused.enterOnce() == .halt)
            #expect(reused.memory(at: 0x30_0000, count: 0x5000).allSatisfy { $0 == 0 })
        }
    }
}
