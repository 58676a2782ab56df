// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc
import JobModel
import KVM
import SeededRandom
import Testing

@testable import LinuxPersonality

/// What the kernel that runs this test puts on a thread's stack for a handler.
private struct NativeFrame {
    var address: UInt64
    var bytes: [UInt8]
    /// The extended state with its closing magic.
    var state: [UInt8]
    var information: UInt64

    /// SAFETY: written by the handler while the one thread that reads it waits in a call.
    nonisolated(unsafe) private static let area = UnsafeMutableRawPointer.allocate(byteCount: 1 << 14, alignment: 64)
    private static let stateOffset = 1024

    static func take(_ number: Int32) -> NativeFrame {
        area.initializeMemory(as: UInt8.self, repeating: 0, count: 1 << 14)
        var (action, before) = (sigaction(), sigaction())
        action.sa_flags = SA_SIGINFO
        action.__sigaction_handler.sa_sigaction = { _, information, context in
            guard let context, let information else { return }
            let frame = context - 8
            NativeFrame.area.storeBytes(of: UInt64(UInt(bitPattern: frame)), as: UInt64.self)
            NativeFrame.area.storeBytes(of: UInt64(UInt(bitPattern: information)), toByteOffset: 8, as: UInt64.self)
            (NativeFrame.area + 16).copyMemory(from: frame, byteCount: SignalFrame.bytes)
            guard let state = UnsafeRawPointer(bitPattern: frame.load(fromByteOffset: 232, as: UInt.self)) else {
                return
            }
            let count = Int(state.load(fromByteOffset: 468, as: UInt32.self))
            (NativeFrame.area + NativeFrame.stateOffset).copyMemory(
                from: state, byteCount: min(count, (1 << 14) - NativeFrame.stateOffset))
        }
        var (set, old) = (sigset_t(), sigset_t())
        sigemptyset(&set)
        sigaddset(&set, number)
        sigaction(number, &action, &before)
        pthread_sigmask(SIG_UNBLOCK, &set, &old)
        pthread_kill(pthread_self(), number)
        pthread_sigmask(SIG_SETMASK, &old, nil)
        sigaction(number, &before, nil)
        let bytes = [UInt8](UnsafeRawBufferPointer(start: area, count: 1 << 14))
        let state = Array(bytes[stateOffset...])
        return NativeFrame(
            address: GuestRecord.word(bytes, at: 0), bytes: Array(bytes[16..<16 + SignalFrame.bytes]),
            state: Array(state.prefix(Int(GuestRecord.word(state, at: 468, count: 4)))),
            information: GuestRecord.word(bytes, at: 8))
    }

    func word(_ offset: Int) -> UInt64 { GuestRecord.word(bytes, at: offset) }

    /// What the thread had when the signal came.
    var registers: Registers {
        var registers = Registers()
        for (index, name) in SignalFrame.order.enumerated() { registers[keyPath: name] = word(48 + index * 8) }
        return registers
    }
}

@Suite struct SignalFrameTests {
    private let word = Machine.data.lowerBound
    private let handler: UInt64 = Machine.code + 0x1000

    @Test func `a frame is the one that the kernel writes here, byte for byte`() throws {
        let native = NativeFrame.take(40)
        try #require(native.address != 0 && native.state.count > ExtendedState.leastBytes)
        let machine = try Machine()
        let signal = try #require(Signal(40))
        let registers = native.registers
        let stack = (registers.rsp & ~0xFFF) - 0x1_0000
        #expect(try machine.value(.mmap, stack, 0x1_2000, 3, 0x32, .max, 0) == Int64(stack))
        machine.processor.registers = registers
        machine.processor.state = Array(native.state.dropLast(4))
        machine.processor.state += [UInt8](repeating: 0, count: 4096 - machine.processor.state.count)
        machine.process.threads.running.registers = registers
        machine.process.threads.running.mask = SignalSet(bits: native.word(304))
        machine.process.threads.running.stack = AlternateStack(record: Array(native.bytes[24..<48]))
        machine.process.signals[signal] = SignalAction(
            handler: handler, flags: [.information, .restorer], restorer: native.word(0))
        let information = SignalInfo(signal, .thread, native.word(312 + 16))
        #expect(try machine.process.resume(taking: information, on: machine.processor, machine.memory) == .run)

        let address = machine.processor.registers.rsp
        var expected = native.bytes
        let state = try machine.process.space.read(native.word(232), count: native.state.count, machine.memory)
        if native.state.count == ExtendedState.commonBytes + 4 || native.state.count == ExtendedState.mostBytes + 4 {
            #expect(address == native.address)
            #expect(state == native.state)
        } else {
            // A processor with larger registers: its area begins lower.
            let place = try machine.process.space.read(address + 232, count: 8, machine.memory)
            expected.replaceSubrange(232..<240, with: place)
        }
        let bytes = try machine.process.space.read(address, count: SignalFrame.bytes, machine.memory)
        // The kernel leaves what is reserved, and what only fills up, as it was on the stack.
        let different = (0..<SignalFrame.bytes).filter {
            bytes[$0] != expected[$0] && !(36..<40).contains($0) && !(240..<304).contains($0)
        }
        #expect(different == [])
        #expect(native.information == native.address + SignalFrame.Offset.information)
        #expect(machine.processor.registers.rsi == address + SignalFrame.Offset.information)
        #expect(machine.processor.registers.rdx == address + SignalFrame.Offset.context)

        // And back.
        machine.processor.state = HandProcessor.freshState
        #expect(try machine.returnFromHandler() == .run)
        #expect(machine.processor.registers == registers)
        #expect(machine.processor.state[..<464] == native.state[..<464])
        #expect(machine.process.threads.running.mask.bits == native.word(304))
    }

    @Test func `all registers come back as the handler leaves them in its frame`() throws {
        let machine = try Machine()
        try machine.handle(.user1, at: handler)
        try machine.call(.kill, 1, 10)
        let context = machine.processor.registers.rdx + 40
        var wanted = Registers()
        for (index, name) in SignalFrame.order.enumerated() {
            wanted[keyPath: name] = 0x100 + UInt64(index)
            try machine.put(0x100 + UInt64(index), at: context + UInt64(index) * 8)
        }
        // RFLAGS: only what is a program's; IOPL, NT, VM and more are not.
        try machine.put(.max, at: context + 17 * 8)
        wanted.rflags = 0x202 | ProgramFlags.own
        // Selectors are not looked at. What is blocked is, but for what cannot be.
        try machine.put(.max, at: context + 18 * 8)
        try machine.put(.max, at: context + 256)
        machine.processor.registers.rflags = 0x202
        #expect(try machine.returnFromHandler() == .run)
        #expect(machine.processor.registers == wanted)
        #expect(machine.process.threads.running.mask == SignalSet(bits: .max).subtracting(.unblockable))
    }

    @Test func `a return to where no program can be is a fault of its own`() throws {
        for address in [AddressLayout.userEnd, 0x8000_0000_0000, 0xFFFF_FFFF_8000_0000, .max] as [UInt64] {
            let machine = try Machine()
            try machine.handle(.user1, at: handler)
            try machine.call(.kill, 1, 10)
            try machine.put(address, at: machine.processor.registers.rdx + 40 + 16 * 8)
            guard case .over(.killed(signal: 11, let fault)) = try machine.returnFromHandler() else {
                Issue.record("\(machine.course)")
                continue
            }
            #expect(fault?.rip == address)
        }
    }

    @Test func `extended state of a frame is what XRSTOR takes, or a fault`() throws {
        func end(_ change: (Machine, _ state: UInt64, _ pointer: UInt64) throws -> Void) throws -> (Course, [UInt8]) {
            let machine = try Machine()
            machine.processor.state[0] = 0x7F
            machine.processor.state[512] = 7
            machine.processor.state[600] = 0x66
            try machine.handle(.user1, at: handler)
            try machine.call(.kill, 1, 10)
            let pointer = machine.processor.registers.rdx + 40 + 23 * 8
            try change(machine, try machine.word(pointer), pointer)
            return (try machine.returnFromHandler(), machine.processor.state)
        }
        let killed = Course.over(.killed(signal: 11, fault: nil))
        let same = try end { _, _, _ in }
        #expect(same.0 == .run && same.1[0] == 0x7F && same.1[600] == 0x66 && same.1[512] == 7)
        #expect(same.1[464..<512].allSatisfy { $0 == 0 } && same.1.count == 4096)
        let none = try end { machine, _, pointer in try machine.put(0, at: pointer) }
        #expect(none.0 == .run && none.1 == HandProcessor.freshState)
        // Without either magic it is what FXSAVE has.
        for offset in [464, 832] as [UInt64] {
            let legacy = try end { machine, state, _ in
                try machine.process.space.writeWord(0, at: state + offset, bytes: 4, machine.memory)
            }
            #expect(legacy.0 == .run && legacy.1[0] == 0x7F && legacy.1[512] == 3 && legacy.1[600] == 0)
        }
        // Components that the frame does not claim are as at the beginning.
        let fewer = try end { machine, state, _ in try machine.put(3, at: state + 472) }
        #expect(fewer.0 == .run && fewer.1[512] == 3)
        let more = try end { machine, state, _ in try machine.put(.max, .max, at: state + 472) }
        #expect(more.0 == .run)
        let wrong: [(Machine, UInt64, UInt64) throws -> Void] = [
            { machine, _, pointer in try machine.put(Machine.nowhere, at: pointer) },
            { machine, _, pointer in try machine.put(.max - 63, at: pointer) },
            { machine, state, pointer in try machine.put(state + 8, at: pointer) },
            { machine, state, _ in try machine.put(1, at: state + 520) },
            { machine, state, _ in try machine.put(1, at: state + 568) },
            { machine, state, _ in try machine.put(0x1_0000, at: state + 24) },
        ]
        for change in wrong { #expect(try end(change).0 == killed) }
        // What is no frame at all.
        let machine = try Machine()
        machine.processor.registers.rsp = Machine.nowhere
        #expect(try machine.returnFromHandler() == killed)
    }

    @Test func `hostile frames end in a program that goes on, or in none`() throws {
        var random = SplitMix64(state: 11)
        var (ran, ended) = (0, 0)
        for _ in 0..<3000 {
            let machine = try Machine()
            try machine.handle(.user1, at: handler, .onStack)
            try machine.put(word + 0x4000, 0, 0x4000, at: word + 0x100)
            if Bool.random(using: &random) { _ = try machine.value(.sigaltstack, word + 0x100) }
            try machine.call(.kill, 1, 10)
            let frame = machine.processor.registers.rsp
            let state = try machine.word(frame + 232)
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let area = Bool.random(using: &random) ? frame + 8..<frame + 312 : state + 400..<state + 584
                let places = stride(from: area.lowerBound, to: area.upperBound - 8, by: 4).map { $0 }
                let place = try #require(places.randomElement(using: &random))
                let values: [UInt64] = [0, .max, 1 << 63, 0x8000_0000_0000, frame, state, Machine.nowhere, word]
                let value = Bool.random(using: &random) ? values.randomElement(using: &random) : random.next()
                try machine.put(try #require(value), at: place)
            }
            let course = try machine.returnFromHandler()
            let registers = machine.processor.registers
            switch course {
            case .run:
                ran += 1
                let isOrdinary =
                    registers.rip < AddressLayout.userEnd && registers.rflags & ~(ProgramFlags.own | 0x202) == 0
                    && registers.rflags & 0x202 == 0x202
                #expect(isOrdinary, "RIP \(registers.rip) RFLAGS \(registers.rflags)")
                #expect(machine.process.threads.running.mask.intersection(.unblockable).isEmpty)
                let vector = machine.processor.state
                #expect(vector.count == 4096 && vector[520..<576].allSatisfy { $0 == 0 })
                #expect(
                    GuestRecord.word(vector, at: 512) & ~0x2E7 == 0 && GuestRecord.word(vector, at: 26, count: 2) == 0)
            case .over(.killed(signal: 11, _)): ended += 1
            default: Issue.record("\(course)")
            }
        }
        #expect(ran > 300 && ended > 300, "\(ran) \(ended)")
    }

    // MARK: Alternate stacks

    @Test func `a handler runs on the alternate stack, and a second one goes on there`() throws {
        let machine = try Machine()
        let stack = word + 0x8000
        try machine.put(stack, 0, 0x8000, at: word)
        #expect(try machine.value(.sigaltstack, word, word + 0x40) == 0)
        #expect(try machine.word(word + 0x48, bytes: 4) == 2)
        try machine.handle(.user1, at: handler, [.onStack, .noDefer])
        let outside = machine.processor.registers.rsp
        try machine.call(.kill, 1, 10)
        let first = machine.processor.registers.rsp
        #expect(first < stack + 0x8000 && first > stack + 0x8000 - 2048)
        #expect(try machine.value(.sigaltstack, 0, word + 0x40) == 0)
        #expect(try machine.word(word + 0x48, bytes: 4) == 1)
        #expect(try machine.value(.sigaltstack, word, 0) == .error(.eperm))
        try machine.call(.kill, 1, 10)
        #expect(machine.processor.registers.rsp < first - 128)
        // Until there is no room left.
        var count = 0
        while case .run = try machine.call(.kill, 1, 10), count < 100 { count += 1 }
        #expect((10..<30).contains(count) && machine.course == .over(.killed(signal: 11, fault: nil)))

        let returning = try Machine()
        try returning.put(stack, 1 << 31, 0x8000, at: word)
        #expect(try returning.value(.sigaltstack, word, 0) == 0)
        try returning.handle(.user1, at: handler, .onStack)
        try returning.call(.kill, 1, 10)
        // SS_AUTODISARM: in the handler there is none, behind it there is.
        #expect(try returning.value(.sigaltstack, 0, word + 0x40) == 0)
        #expect(try returning.word(word + 0x48, bytes: 4) == 2)
        try returning.returnFromHandler()
        #expect(returning.processor.registers.rsp == outside)
        #expect(returning.process.threads.running.stack.count == 0x8000)
    }

    @Test func `stacks that are none are refused`() throws {
        let machine = try Machine()
        func set(_ flags: UInt64, _ count: UInt64) throws -> Int64 {
            try machine.put(word + 0x8000, flags, count, at: word)
            return try machine.value(.sigaltstack, word, 0)
        }
        #expect(try set(0, AlternateStack.smallest - 1) == .error(.enomem))
        #expect(try set(0, AlternateStack.smallest) == 0)
        #expect(try set(4, 0x8000) == .error(.einval))
        #expect(try set(2, 0) == 0)
        #expect(machine.process.threads.running.stack.count == 0)
        #expect(try machine.value(.sigaltstack, Machine.nowhere, 0) == .error(.efault))
        #expect(try machine.value(.sigaltstack, 0, Machine.nowhere) == .error(.efault))
    }
}
