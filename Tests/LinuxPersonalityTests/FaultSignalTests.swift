// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import LinuxPersonality

@Suite struct FaultSignalTests {
    private let word = Machine.data.lowerBound
    private let handler: UInt64 = Machine.code + 0x1000

    /// An exception, and what Linux makes of it: signal, `si_code` and `si_addr`.
    private struct Meaning: CustomStringConvertible {
        var vector: UInt8
        var code: UInt32?
        var address: UInt64?
        var signal: Int32
        var signalCode: Int32
        var signalAddress: UInt64
        var description: String { "vector \(vector)" }
    }

    private static let rip = Machine.code
    private static let meanings = [
        Meaning(vector: 0, signal: 8, signalCode: 1, signalAddress: rip),
        Meaning(vector: 1, signal: 5, signalCode: 2, signalAddress: rip),
        Meaning(vector: 3, signal: 5, signalCode: 0x80, signalAddress: 0),
        Meaning(vector: 6, signal: 4, signalCode: 2, signalAddress: rip),
        Meaning(vector: 11, code: 8, signal: 7, signalCode: 0x80, signalAddress: 0),
        Meaning(vector: 12, code: 0, signal: 7, signalCode: 0x80, signalAddress: 0),
        Meaning(vector: 13, code: 0, signal: 11, signalCode: 0x80, signalAddress: 0),
        Meaning(vector: 14, code: 6, address: 0x18, signal: 11, signalCode: 1, signalAddress: 0x18),
        Meaning(vector: 14, code: 7, address: readOnly, signal: 11, signalCode: 2, signalAddress: readOnly),
        Meaning(vector: 14, code: 4, address: .max, signal: 11, signalCode: 1, signalAddress: .max),
        Meaning(vector: 17, code: 0, signal: 7, signalCode: 1, signalAddress: 0),
        Meaning(vector: 16, signal: 8, signalCode: 3, signalAddress: rip),
        Meaning(vector: 19, signal: 8, signalCode: 4, signalAddress: rip),
    ]
    private static let readOnly = Machine.data.lowerBound + 0x2_0010

    private func machine() throws -> Machine {
        let machine = try Machine()
        #expect(try machine.value(.mprotect, Machine.data.lowerBound + 0x2_0000, 4096, 1) == 0)
        // x87: a division by zero that is not masked. SSE: an overflow that is not, and an invalid one that is.
        machine.processor.state.replaceSubrange(0..<4, with: [0x7B, 0x03, 0x04, 0x00])
        machine.processor.state.replaceSubrange(24..<28, with: [0x89, 0x1B, 0, 0])
        return machine
    }

    @Test(arguments: 0..<13)
    func `an exception is the signal that Linux makes of it`(index: Int) throws {
        let meaning = Self.meanings[index]
        let signal = try #require(Signal(meaning.signal))
        let dying = try machine()
        let fault = Fault(
            vector: meaning.vector, errorCode: meaning.code, address: meaning.address, rip: Machine.code)
        let end = try dying.fault(meaning.vector, code: meaning.code, address: meaning.address)
        #expect(end == .over(.killed(signal: signal.number, fault: fault)), "\(meaning)")

        let living = try machine()
        try living.handle(signal, at: handler, .information)
        #expect(try living.fault(meaning.vector, code: meaning.code, address: meaning.address) == .run)
        let registers = living.processor.registers
        #expect(registers.rip == handler && registers.rdi == UInt64(signal.number))
        #expect(try living.word(registers.rsi, bytes: 4) == UInt64(signal.number))
        #expect(try living.word(registers.rsi + 8, bytes: 4) == UInt64(UInt32(bitPattern: meaning.signalCode)))
        #expect(try living.word(registers.rsi + 16) == meaning.signalAddress)
        // err, trapno and cr2 in the frame.
        let context = registers.rdx + 40
        let isSystems = meaning.address == .max
        #expect(try living.word(context + 19 * 8) == UInt64(meaning.code ?? 0) | (isSystems ? 1 : 0))
        #expect(try living.word(context + 20 * 8) == UInt64(meaning.vector))
        #expect(try living.word(context + 22 * 8) == meaning.address ?? 0)
        #expect(try living.word(context + 16 * 8) == Machine.code)
        // Nothing handles SIGSEGV there: its handler is not there or blocks it.
        #expect(
            try living.fault(13, code: 0)
                == .over(.killed(signal: 11, fault: Fault(vector: 13, errorCode: 0, address: nil, rip: handler))))
    }

    @Test func `a page that is there to come comes, without a signal`() throws {
        let machine = try Machine()
        #expect(try machine.value(.mmap, 0x3000_0000, 4096, 3, 0x32, .max, 0) == 0x3000_0000)
        let before = machine.processor.registers
        #expect(try machine.fault(14, code: 6, address: 0x3000_0008) == .run)
        #expect(machine.processor.registers == before && machine.processor.transfers == 0)
    }

    @Test func `a handler can mend what was wrong, and the instruction is tried again`() throws {
        let machine = try machine()
        try machine.handle(.segmentation, at: handler, .information)
        #expect(try machine.fault(14, code: 7, address: Self.readOnly) == .run)
        #expect(try machine.value(.mprotect, Self.readOnly & ~0xFFF, 4096, 3) == 0)
        #expect(try machine.returnFromHandler() == .run)
        #expect(machine.processor.registers.rip == Machine.code)
        #expect(try machine.fault(14, code: 7, address: Self.readOnly) == .run)
        #expect(machine.processor.registers.rip == Machine.code)
    }

    @Test func `a handler that never returns leaves nothing behind but what it blocked`() throws {
        let machine = try machine()
        try machine.handle(.segmentation, at: handler, .noDefer)
        for _ in 0..<1000 {
            #expect(try machine.fault(14, code: 6, address: 8) == .run)
            // siglongjmp: stack and place are as before.
            machine.processor.registers.rsp = Machine.stackTop - 0x1000
            machine.processor.registers.rip = Machine.code
        }
        #expect(machine.process.threads.running.mask.isEmpty && !machine.process.hasSignals)
    }

    @Test func `a fault that is ignored or blocked ends the process all the same`() throws {
        let ignoring = try machine()
        try ignoring.put(1, 0, 0, 0, at: word)
        _ = try ignoring.value(.rtSigaction, 11, word, 0, 8)
        let fault = Fault(vector: 14, errorCode: 6, address: 8, rip: Machine.code)
        #expect(try ignoring.fault(14, code: 6, address: 8) == .over(.killed(signal: 11, fault: fault)))
        let blocking = try machine()
        try blocking.handle(.segmentation, at: handler)
        try blocking.put(1 << 10, at: word)
        _ = try blocking.value(.rtSigprocmask, 0, word, 0, 8)
        #expect(try blocking.fault(14, code: 6, address: 8) == .over(.killed(signal: 11, fault: fault)))
    }

    @Test func `where no frame fits the process ends by SIGSEGV, with the fault that began it`() throws {
        let fault = Fault(vector: 14, errorCode: 6, address: 8, rip: Machine.code)
        for pointer in [0, 64, Machine.nowhere, 0x8000_0000_0000, .max, Self.readOnly + 0x800] as [UInt64] {
            let machine = try machine()
            try machine.handle(.segmentation, at: handler)
            machine.processor.registers.rsp = pointer
            #expect(try machine.fault(14, code: 6, address: 8) == .over(.killed(signal: 11, fault: fault)))
            // Another signal's frame that does not fit is a SIGSEGV, too; on its own stack that one is handled.
            let other = try self.machine()
            try other.handle(.user1, at: handler)
            try other.handle(.segmentation, at: handler + 8, .onStack)
            try other.put(word + 0x4000, 0, 0x4000, at: word + 0x100)
            #expect(try other.value(.sigaltstack, word + 0x100) == 0)
            other.processor.registers.rsp = pointer
            #expect(try other.call(.kill, 1, 10) == .run)
            #expect(other.processor.registers.rip == handler + 8)
            #expect((word + 0x4000..<word + 0x8000).contains(other.processor.registers.rsp))
        }
    }

    @Test func `a handler where no program can be, or without a way back, is none`() throws {
        for address in [0x7FFF_FFFF_F000, 0x8000_0000_0000, 0xFFFF_8000_0000_0000, .max] as [UInt64] {
            let machine = try Machine()
            try machine.handle(.user1, at: address)
            #expect(try machine.call(.kill, 1, 10) == .over(.killed(signal: 11, fault: nil)))
        }
        let machine = try Machine()
        try machine.put(handler, 0, 0, 0, at: word)
        _ = try machine.value(.rtSigaction, 10, word, 0, 8)
        #expect(try machine.call(.kill, 1, 10) == .over(.killed(signal: 11, fault: nil)))
    }

    @Test func `a thread that goes where no program can be gets SIGSEGV`() throws {
        let machine = try Machine()
        machine.processor.registers.rip = 0x8000_0000_0000
        guard case .over(.killed(signal: 11, let fault)) = try machine.call(.getpid) else {
            Issue.record("\(machine.course)")
            return
        }
        #expect(fault?.rip == 0x8000_0000_0000)
    }

    @Test func `memory that is used up kills as Linux does`() throws {
        let machine = try Machine(bytes: 2 << 20)
        // A reservation that is not charged, of more pages than there are.
        #expect(try machine.value(.mmap, 0x3000_0000, 8 << 20, 1, 0x4022, .max, 0) > 0)
        let start = UInt64(machine.result)
        var page = start
        while case .run = machine.course, page < start + 8 << 20 {
            try machine.fault(14, code: 4, address: page)
            page += 4096
        }
        guard case .over(.killed(signal: 9, .some)) = machine.course else {
            Issue.record("\(machine.course)")
            return
        }
        #expect(machine.process.space.refusals > 0)
    }
}
