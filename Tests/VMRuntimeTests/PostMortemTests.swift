// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import GuestImage
import JobModel
import KVM
import Testing

@testable import VMRuntime

@Suite("What a result tells of a job's end", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct PostMortemTests {
    // MARK: Exits

    /// mov eax, 0x12345678; out 0x80, al; in al, 0x80; mov [0xd0000000], eax; mov eax, [0xd0000000]; hlt
    private static let accesses = hex("b878563412 e680 e480 a3000000d0 a1000000d0 f4")

    @Test("The exit log has each access with its value, and the HLT; stepped and free tell the same")
    func exitLog() async throws {
        var spec = JobSpec(mode: .protected32)
        spec.report = .exits
        let free = try await Run.of(Self.accesses, spec).result.postMortem.exits
        #expect(free.map(\.kind) == [.portOut, .portIn, .mmioWrite, .mmioRead, .halt])
        #expect(free.map(\.address) == [0x80, 0x80, 0xD000_0000, 0xD000_0000, 0])
        #expect(free.map(\.value) == [0x78, 0xFF, 0x1234_56FF, 0xFFFF_FFFF, 0])
        #expect(free.map(\.size) == [1, 1, 4, 4, 0])
        #expect(free.map(\.count) == [1, 1, 1, 1, 0])
        let starts: [UInt64] = [5, 7, 9, 14, 19, 20]
        for (index, exit) in free.enumerated() {
            let offset = exit.rip - 0x10_0000
            #expect(offset == starts[index] || offset == starts[index + 1], "at the instruction or behind it")
        }
        #expect(free.last?.rip == 0x10_0014)
        spec.budget.steps = 1000
        #expect(try await Run.of(Self.accesses, spec).result.postMortem.exits == free)
    }

    @Test("Stepped and free-running guests have the same exit log", arguments: GuestMode.imageModes)
    func exitLogOfMode(mode: GuestMode) async throws {
        // again: out 0x80, al; in al, 0x80; dec ecx; jnz again; ud2 or, in real mode, hlt
        let body = mode == .real16 ? "b90300 e680 e480 49 75f9 f4" : "b903000000 e680 e480 ffc9 75f8 0f0b"
        var spec = JobSpec(mode: mode)
        spec.report = .exits
        let free = try await Run.of(hex(body), spec).result.postMortem.exits
        spec.budget.steps = 1000
        let stepped = try await Run.of(hex(body), spec).result.postMortem.exits
        #expect(free.count == (mode == .user64 ? 6 : 7))
        #expect(free == stepped)
    }

    @Test("The exit log keeps the last 32, oldest first", arguments: [nil, 10_000] as [UInt64?])
    func exitLogIsBounded(steps: UInt64?) async throws {
        // mov cx, 100; again: out 0x80, al; inc ax; loop again; hlt
        var spec = JobSpec(budget: Budget(steps: steps))
        spec.report = .exits
        let exits = try await Run.of(hex("b96400 e680 40 e2fb f4"), spec).result.postMortem.exits
        #expect(exits.count == PostMortem.exitLimit)
        #expect(exits.dropLast().map(\.value) == (69..<100).map { UInt64($0) })
        #expect(exits.last?.kind == .halt)
    }

    @Test("What stops the guest for a step, and what an exception's stub writes, is no exit of the guest's")
    func exitLogOfUser64() async throws {
        // out 0x80, al; ud2
        var spec = JobSpec(mode: .user64)
        spec.report = .exits
        for steps in [nil, 1000] as [UInt64?] {
            spec.budget.steps = steps
            let result = try await Run.of(hex("e680 0f0b"), spec).result
            #expect(result.outcome.name == "faulted")
            #expect(result.postMortem.exits.map(\.kind) == [.portOut])
            #expect(result.postMortem.exits.map(\.address) == [0x80])
        }
    }

    @Test("A job that asks for nothing is told nothing")
    func nothing() async throws {
        let postMortem = try await Run.of(Self.accesses, JobSpec(mode: .protected32)).result.postMortem
        #expect(postMortem == PostMortem())
    }

    // MARK: Memory around RIP and on the stack

    private func run(_ image: [UInt8], _ mode: GuestMode, load: UInt64? = nil) async throws -> JobResult {
        var spec = JobSpec(mode: mode, loadAddress: load)
        spec.report = [.code, .stack]
        return try await Run.of(image, spec).result
    }

    @Test("The code window has 48 bytes before RIP and 128 in all")
    func code() async throws {
        let image = [UInt8](repeating: 0x90, count: 100) + hex("f4 1122")
        let window = try #require(try await run(image, .real16).postMortem.code)
        #expect(window.address == 0x1065 - 48)
        #expect(window.bytes.count == 128)
        #expect(Array(window.bytes[..<51]) == [UInt8](repeating: 0x90, count: 47) + hex("f4 1122 00"))
    }

    @Test("The code window begins where memory does")
    func codeAtZero() async throws {
        let window = try #require(try await run(hex("f4"), .real16, load: 0).postMortem.code)
        #expect(window.address == 0)
        #expect(window.bytes == hex("f4") + [UInt8](repeating: 0, count: 127))
    }

    @Test("The code window begins and ends where pages are mapped")
    func codeBesideHoles() async throws {
        // Page 0 is not there.
        let begin = try #require(try await run(hex("0f0b"), .user64, load: 0x1000).postMortem.code)
        #expect(begin.address == 0x1000)
        #expect(Array(begin.bytes.prefix(3)) == hex("0f0b00"))
        #expect(begin.bytes.count == 128)
        // The system area is there, and the machine's own; guest memory ends at 16 MiB.
        let end = try #require(try await run(hex("90 0f0b"), .user64, load: (16 << 20) - 3).postMortem.code)
        #expect(end.address == (16 << 20) - 2 - 48)
        #expect(end.bytes.count == 50)
        #expect(Array(end.bytes.suffix(3)) == hex("90 0f0b"))
    }

    @Test("There is no code window where there is no code")
    func codeNowhere() async throws {
        // movabs $0x1000000000, %rbx; jmp *%rbx
        let result = try await run(hex("48bb0000000010000000 ffe3"), .user64)
        #expect(result.registers?.rip == 0x10_0000_0000)
        #expect(result.postMortem.code == nil)
        #expect(result.postMortem.stack == nil, "an empty stack at memory's end")
    }

    @Test("The stack window of real mode is at SS:SP and ends with the segment")
    func realModeStack() async throws {
        // mov ax, 0x2000; mov ss, ax; mov sp, 0xfffc; push 0x1234; hlt
        let window = try await run(hex("b80020 8ed0 bcfcff 683412 f4"), .real16).postMortem.stack
        #expect(window == MemoryWindow(address: 0x2_FFFA, bytes: hex("3412 0000 0000")))
    }

    @Test("The windows of a program at ring 3 are the program's, not those of the exception's stub")
    func userStack() async throws {
        // push 7; ud2
        for steps in [nil, 1000] as [UInt64?] {
            var spec = JobSpec(mode: .user64, budget: Budget(steps: steps))
            spec.report = [.code, .stack]
            let postMortem = try await Run.of(hex("6a07 0f0b"), spec).result.postMortem
            #expect(postMortem.stack == MemoryWindow(address: (16 << 20) - 8, bytes: hex("0700000000000000")))
            #expect(postMortem.code?.address == 0x10_0002 - 48)
            #expect(postMortem.code.map { Array($0.bytes[46..<50]) } == hex("6a07 0f0b"))
        }
    }

    @Test("A stack window has at most 512 bytes", arguments: [GuestMode.protected32, .long64])
    func stackLimit(mode: GuestMode) async throws {
        // mov esp, 0x200000; push 1; hlt
        let size = mode == .long64 ? 8 : 4
        let window = try #require(try await run(hex("bc00002000 6a01 f4"), mode).postMortem.stack)
        #expect(window.address == 0x20_0000 - UInt64(size))
        #expect(window.bytes == [1] + [UInt8](repeating: 0, count: 511))
    }

    // MARK: Floating point

    @Test("The floating-point image is the one that FXSAVE stores")
    func floatingPoint() async throws {
        // fld1; fldpi; mov eax, 0x11223344; movd xmm1, eax; out 0xf4, al
        var spec = JobSpec(mode: .user64)
        spec.report = .fpu
        let image = try #require(
            try await Run.of(hex("d9e8 d9eb b844332211 660f6ec8 e6f4"), spec).result.postMortem.fpu)
        #expect(image.count == PostMortem.fpuBytes)
        #expect(Array(image[0..<2]) == hex("7f03"), "FCW")
        #expect(image[4] == 0xC0, "FTW: registers 6 and 7 hold something")
        #expect(Array(image[24..<28]) == hex("801f0000"), "MXCSR")
        #expect(Array(image[32..<42]) == hex("35c26821a2da0fc90040"), "ST0: pi")
        #expect(Array(image[48..<58]) == hex("0000000000000080ff3f"), "ST1: 1")
        #expect(Array(image[176..<192]) == hex("44332211") + [UInt8](repeating: 0, count: 12), "XMM1")
        #expect(image[416...].allSatisfy { $0 == 0 })
    }

    // MARK: Causes

    struct Cause: Sendable, CustomTestStringConvertible {
        let name: String
        let mode: GuestMode
        let code: String
        let vector: UInt8
        var errorCode: UInt32?
        var address: UInt64?
        /// RIP, from the load address on or by itself.
        var offset: UInt64 = 0
        var rip: UInt64?
        var testDescription: String { "\(mode.name): \(name)" }

        var fault: Fault {
            let load: UInt64 = mode == .real16 ? 0x1000 : 0x10_0000
            return Fault(vector: vector, errorCode: errorCode, address: address, rip: rip ?? load + offset)
        }
    }

    /// lidt of a table that is not in memory, in real mode; its pointer is at 0x100c.
    private static let noVectors = "660f011e0c10"

    static let causes = [
        Cause(name: "div", mode: .real16, code: noVectors + "30db f6f3 f4 90 0000000000d0", vector: 0, offset: 8),
        Cause(
            name: "a store across the segment's end", mode: .real16, code: noVectors + "a3ffff f4 9090 0000000000d0",
            vector: 13, offset: 6),
        Cause(name: "ud2", mode: .protected32, code: "90 0f0b", vector: 6, offset: 1),
        Cause(name: "div", mode: .protected32, code: "30db f6f3", vector: 0, offset: 2),
        Cause(name: "a selector", mode: .protected32, code: "b848000000 8ed8", vector: 13, errorCode: 0x48, offset: 5),
        Cause(name: "ud2 without a stack", mode: .protected32, code: "bc00000000 0f0b", vector: 6, offset: 5),
        // A gate for #UD leads to 0x200000, where a bad selector is loaded.
        Cause(
            name: "in a handler", mode: .protected32,
            code: gate + "c70500002000b8480000 c70504002000008ed800 0f0b",
            vector: 13, errorCode: 0x48, rip: 0x20_0005),
        // The same gate names a selector that is none: what began is the #UD.
        Cause(
            name: "a gate that leads nowhere", mode: .protected32,
            code: gate + "66c705328020004800 0f0b", vector: 6, offset: 55),
        Cause(name: "ud2", mode: .long64, code: "90 0f0b", vector: 6, offset: 1),
        Cause(name: "div", mode: .long64, code: "30db f6f3", vector: 0, offset: 2),
        Cause(
            name: "a store to no page", mode: .long64, code: "48bb0000000010000000 c60301", vector: 14, errorCode: 2,
            address: 0x10_0000_0000, offset: 10),
        Cause(
            name: "a jump to no page", mode: .long64, code: "48bb0000000010000000 ffe3", vector: 14, errorCode: 0x10,
            address: 0x10_0000_0000, rip: 0x10_0000_0000),
        Cause(
            name: "no address at all", mode: .long64, code: "48bb0000000000800000 8a03", vector: 13, errorCode: 0,
            offset: 10),
        // mov byte [0x90015], 0x13 takes the present bit from the data segment 0x10.
        Cause(
            name: "a segment that is not present", mode: .long64, code: "c604251500090013 b810000000 8ed8", vector: 11,
            errorCode: 0x10, offset: 13),
        Cause(
            name: "a stack segment that is not present", mode: .long64, code: "c604251500090013 b810000000 8ed0",
            vector: 12, errorCode: 0x10, offset: 13),
    ]

    @Test(
        "A triple fault tells the exception that it began with, stepped or not",
        .enabled(if: Hardware.has(\.tellsExceptions), "this KVM does not raise the guest's exceptions"),
        arguments: causes)
    func cause(_ example: Cause) async throws {
        for steps in [nil, 1000] as [UInt64?] {
            let spec = JobSpec(mode: example.mode, budget: Budget(steps: steps))
            let result = try await Run.of(hex(example.code), spec).result
            #expect(result.outcome == .tripleFault)
            #expect(result.postMortem.cause == example.fault, "steps: \(String(describing: steps))")
            #expect(result.registers?.rip == example.fault.rip)
        }
    }

    /// A gate for #UD at 0x208030, in a table that is loaded: it leads to 0x200000.
    private static let gate =
        "66c70500902000ff00 c7050290200000802000 0f011d00902000 c7053080200000000800 c70534802000008e2000"

    @Test("An exception that was handled before is not taken for the cause of anything")
    func handledBefore() async throws {
        // A #UD whose handler at 0x200000 halts.
        let image = hex(Self.gate + "c60500002000f4 0f0b")
        let result = try await Run.of(image, JobSpec(mode: .protected32)).result
        #expect(result.outcome == .halted)
        #expect(result.postMortem.cause == nil)
    }

    @Test(
        "What KVM could not run is told by RIP and bytes, and is the last exit",
        .enabled(if: Hardware.has(\.countsEmulation), "this KVM emulates nothing that it could fail at"))
    func unemulatable() async throws {
        // nop; rdtscp, which the software backend does not know at ring 0
        var spec = JobSpec(mode: .long64)
        spec.report = [.exits, .code]
        let result = try await Run.of(hex("90 0f01f9 f4"), spec).result
        guard case .unemulatable(let what) = result.outcome else {
            Issue.record("it ended as \(result.outcome)")
            return
        }
        #expect(what.rip == 0x10_0001)
        #expect(Array(what.bytes.prefix(4)) == hex("0f01f9f4"))
        #expect(result.postMortem.exits.last.map { [$0.value, $0.rip] } == [1, 0x10_0001])
        #expect(result.postMortem.exits.last?.kind == .internalError)
        #expect(result.postMortem.code?.address == 0x10_0001 - 48)
    }

    @Test("Where a backend loses the registers in a triple fault, everything that comes of them is absent")
    func lostRegisters() async throws {
        var spec = JobSpec(mode: .protected32)
        spec.report = .all
        let result = try await onThread { [spec] () throws in
            let backend = try Hardware.backend.get()
            var profile = backend.profile
            profile.keepsRegistersAfterShutdown = false
            let layout = try GuestLayout(flat: hex("0f0b"), spec: spec)
            let machine = try Machine(readyFor: layout, on: backend, countsEmulation: false)
            let execution = Execution(
                machine, budget: Budget(), reportsPortWrites: false, plan: .none, inquiry: Inquiry(spec),
                control: JobControl(hasInput: false), thread: try VCPUThread(), backend: profile, emit: { _ in })
            guard case .ended(let result) = execution.run() else { throw Run.Missing.result }
            return result
        }
        #expect(result.outcome == .tripleFault)
        #expect(result.registers == nil)
        #expect(result.postMortem.code == nil)
        #expect(result.postMortem.stack == nil)
        #expect(result.postMortem.fpu == nil)
        #expect(result.postMortem.cause == nil)
        #expect(result.postMortem.exits.map(\.kind) == [.shutdown])
    }
}

extension Hardware {
    /// Whether the probes found this of the machine's KVM.
    fileprivate static func has(_ property: KeyPath<BackendProfile, Bool>) -> Bool {
        switch backend {
        case .success(let backend): backend.profile[keyPath: property]
        case .failure: false
        }
    }
}

/// Runs something that blocks on a thread of its own.
func onThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue(label: "test").async { continuation.resume(with: Result { try body() }) }
    }
}
