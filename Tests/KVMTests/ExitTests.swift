// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import JobModel
import Testing

@testable import KVM

/// Whether this machine has a usable /dev/kvm.
let kvmIsUsable: Bool = {
    do throws(KVMError) {
        _ = try Hypervisor()
        return true
    } catch {
        print("KVMTests did not run: \(error)")
        return false
    }
}()

/// A 1 MiB machine in real mode whose code is at 0x1000, for tests that look at single exits.
final class TinyMachine {
    let machine: VirtualMachine
    let vcpu: VirtualCPU
    private let thread: VCPUThread

    init(_ code: [UInt8], registers: [RegisterName: UInt64] = [:], coalescedPorts: [UInt16] = []) throws {
        let hypervisor = try Hypervisor()
        machine = try hypervisor.makeVirtualMachine(memoryBytes: 1 << 20, coalescedPorts: coalescedPorts)
        vcpu = try hypervisor.makeVirtualCPU(in: machine)
        thread = try VCPUThread()
        _ = machine.memory.write(code, at: 0x1000)
        var state = vcpu.pristine
        (state.system.cs.base, state.system.cs.selector) = (0, 0)
        state.registers = Registers()
        state.registers.rip = 0x1000
        for (name, value) in registers { state.registers[name] = value }
        try vcpu.load(state)
        vcpu.attach()
    }

    deinit { vcpu.detach() }

    // The test macros take copyable values apart, and a vCPU cannot be copied.
    func run() throws -> VMExit { try vcpu.run() }
    func settle() throws -> VMExit? { try vcpu.settle() }
    func takeKick() -> Bool { vcpu.takeKick() }
    func registers() throws -> Registers { try vcpu.registers() }
    func portValue(_ index: UInt32, _ access: PortAccess) -> UInt32 { vcpu.portValue(at: index, of: access) }
    func write(_ bytes: [UInt8], at address: UInt64) -> Bool { machine.memory.write(bytes, at: address) }
    func read(at address: UInt64, count: Int) -> [UInt8]? { machine.memory.read(at: address, count: count) }
    var kicker: Kicker { vcpu.kicker }
    var rip: UInt64 { get throws { try vcpu.registers().rip } }
}

/// vCPUs belong to one thread, and blocking calls to none of the task pool's: each test body gets a thread of its own.
func onThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue(label: "test").async { continuation.resume(with: Result { try body() }) }
    }
}

@Suite("Exits of KVM_RUN", .enabled(if: kvmIsUsable, "no usable /dev/kvm"))
struct ExitTests {
    @Test(
        "OUT of each width shows port, size and value",
        arguments: [(1, "ee", 0x44), (2, "ef", 0x3344), (4, "66ef", 0x1122_3344)])
    func portOut(size: Int, code: String, value: Int) async throws {
        try await onThread {
            let tiny = try TinyMachine(hex(code) + [0xF4], registers: [.rax: 0x1122_3344, .rdx: 0x80])
            let access = PortAccess(port: 0x80, size: UInt8(size), count: 1)
            #expect(try tiny.run() == .portOut(access))
            #expect(tiny.portValue(0, access) == UInt32(value))
            #expect(try tiny.settle() == nil)
            #expect(try tiny.rip == 0x1000 + UInt64(hex(code).count))
            #expect(try tiny.run() == .halt)
        }
    }

    @Test(
        "IN takes what it is given, and only when it is settled",
        arguments: [(1, "ec", 0x88), (2, "ed", 0x7788), (4, "66ed", 0x5566_7788)])
    func portIn(size: Int, code: String, value: Int) async throws {
        try await onThread {
            let tiny = try TinyMachine(hex(code) + [0xF4], registers: [.rdx: 0x80])
            let access = PortAccess(port: 0x80, size: UInt8(size), count: 1)
            #expect(try tiny.run() == .portIn(access))
            tiny.vcpu.setPortValue(0x5566_7788, at: 0, of: access)
            #expect(try tiny.settle() == nil)
            #expect(try tiny.registers().rax == UInt64(value))
            #expect(try tiny.rip == 0x1000 + UInt64(hex(code).count))
        }
    }

    @Test("REP OUTSB and REP INSB move every element")
    func stringForms() async throws {
        try await onThread {
            // mov si,0x2000; mov di,0x3000; mov cx,3; rep outsb; mov cx,3; rep insb; hlt
            let tiny = try TinyMachine(hex("be0020 bf0030 b90300 f36e b90300 f36c f4"), registers: [.rdx: 0x80])
            #expect(tiny.write(Array("abc".utf8), at: 0x2000))
            var written: [UInt8] = []
            var given: UInt8 = 0x61
            loop: while true {
                switch try tiny.run() {
                case .portOut(let access):
                    for index in 0..<access.count { written.append(UInt8(tiny.vcpu.portValue(at: index, of: access))) }
                case .portIn(let access):
                    for index in 0..<access.count {
                        tiny.vcpu.setPortValue(UInt32(given), at: index, of: access)
                        given += 1
                    }
                case .halt: break loop
                case let other: Issue.record("unexpected \(other)"); break loop
                }
            }
            #expect(String(decoding: written, as: UTF8.self) == "abc")
            #expect(tiny.read(at: 0x3000, count: 3) == Array("abc".utf8))
        }
    }

    @Test("Accesses outside memory show address, size and value")
    func mmio() async throws {
        try await onThread {
            // mov ax,0xf000; mov es,ax... outside 1 MiB: es = 0xffff, offset 0x10 is 1 MiB
            let tiny = try TinyMachine(hex("b8ffff 8ec0 26c606 1000 5a 26a0 1000 f4"))
            #expect(try tiny.run() == .mmioWrite(address: 0x10_0000, size: 1, value: 0x5A))
            #expect(try tiny.run() == .mmioRead(address: 0x10_0000, size: 1))
            tiny.vcpu.setMMIOValue(0xA5)
            #expect(try tiny.run() == .halt)
            #expect(try tiny.registers().rax & 0xFF == 0xA5)
        }
    }

    @Test("A kick stops a guest that spins, also one that comes before the guest is entered")
    func kick() async throws {
        try await onThread {
            let tiny = try TinyMachine(hex("ebfe"))
            let kicker = tiny.vcpu.kicker
            kicker.kick()
            #expect(try tiny.run() == .interrupted)
            #expect(tiny.takeKick())
            DispatchQueue(label: "kicker").async { kicker.kick() }
            #expect(try tiny.run() == .interrupted)
            #expect(tiny.takeKick())
            #expect(!tiny.takeKick())
            #expect(try tiny.rip == 0x1000)
        }
    }

    @Test("An alarm stops a guest that spins, also one whose time has passed")
    func alarm() async throws {
        try await onThread {
            let tiny = try TinyMachine(hex("ebfe"))
            let thread = try VCPUThread()
            for delay in [UInt64(0), 2_000_000] {
                try thread.setAlarm(at: MonotonicClock.now + delay)
                #expect(try tiny.run() == .interrupted)
                #expect(tiny.takeKick())
            }
        }
    }

    @Test("A kicker outlives its vCPU and then does nothing")
    func lateKick() async throws {
        try await onThread {
            var tiny: TinyMachine? = try TinyMachine(hex("f4"))
            let kicker = try #require(tiny?.kicker)
            tiny = nil
            kicker.kick()
        }
    }

    @Test("Single steps end after one instruction each")
    func step() async throws {
        try await onThread {
            let tiny = try TinyMachine(hex("909090f4"))
            try tiny.vcpu.setSingleStep(true)
            #expect(try tiny.run() == .debug(linearAddress: 0x1001))
            #expect(try tiny.run() == .debug(linearAddress: 0x1002))
            try tiny.vcpu.setSingleStep(false)
            #expect(try tiny.run() == .halt)
        }
    }

    @Test("Registers and segments come back as they were set")
    func registers() async throws {
        try await onThread {
            let tiny = try TinyMachine(hex("f4"))
            var registers = Registers()
            for name in RegisterName.allCases where name != .rflags && name != .rip {
                registers[name] = 0x1111_2222_3333_0000 + UInt64(name.rawValue)
            }
            registers.rip = 0x1000
            try tiny.vcpu.setRegisters(registers)
            #expect(try tiny.registers() == registers)
            #expect(try tiny.run() == .halt)
            registers.rip = 0x1001
            #expect(try tiny.registers() == registers)
            let system = try tiny.vcpu.systemRegisters()
            #expect(system.cs.base == 0)
            #expect(system.cs.attributes.present)
        }
    }
}

@Suite("Guest memory", .enabled(if: kvmIsUsable, "no usable /dev/kvm"))
struct GuestMemoryTests {
    @Test("Accesses outside are refused and change nothing")
    func bounds() async throws {
        try await onThread { try Self.checkBounds() }
    }

    private static func checkBounds() throws {
        let tiny = try TinyMachine([])
        let end: UInt64 = 1 << 20
        let size = tiny.machine.memory.bytes
        #expect(size == end)
        #expect(tiny.write([1, 2], at: end - 2))
        #expect(!tiny.write([1, 2], at: end - 1))
        #expect(!tiny.write([1], at: .max))
        #expect(tiny.read(at: end - 2, count: 2) == [1, 2])
        #expect(tiny.read(at: end - 1, count: 2) == nil)
        #expect(tiny.read(at: .max, count: 2) == nil)
        #expect(tiny.read(at: 0, count: -1) == nil)
        let word = tiny.machine.memory.word(at: end - 7)
        #expect(word == nil)
        let stored = tiny.machine.memory.setWord(1, at: end - 7)
        #expect(!stored)
        let bytes = [tiny.machine.memory.byte(at: end - 1), tiny.machine.memory.byte(at: end)]
        #expect(bytes == [2, 0xFF])
    }
}

/// Bytes from hexadecimal text, spaces allowed.
func hex(_ text: String) -> [UInt8] {
    let digits = Array(text.filter { !$0.isWhitespace })
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(String(digits[$0...($0 + 1)]), radix: 16) ?? 0 }
}
