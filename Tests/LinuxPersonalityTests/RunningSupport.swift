// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import KVM
import Testing

@testable import LinuxPersonality

/// A vCPU that executes nothing: what it holds is set and looked at by hand.
final class HandProcessor: GuestProcessor {
    var registers = Registers()
    var fsBase: UInt64 = 0
    var gsBase: UInt64 = 0
    var state = HandProcessor.freshState
    /// How often the two calls were made that cost something.
    var transfers = 0

    static let freshState = [UInt8](repeating: 0, count: 4096)

    func extendedState() -> [UInt8] {
        transfers += 1
        return state
    }

    func setExtendedState(_ bytes: [UInt8]?) -> Bool {
        transfers += 1
        state = bytes ?? Self.freshState
        return true
    }
}

/// A process, its vCPU and its clock, of which the tests play the program.
final class Machine {
    let memory: GuestMemory
    let processor = HandProcessor()
    var process: LinuxProcess
    var moment = Moment(monotonic: 1_000, realtime: 1_700_000_000_000_000_000)
    /// What came of the last exit.
    var course = Course.run

    /// Memory that the program has, to be read and written.
    static let data: Range<UInt64> = 0x1_0000..<0x10_0000
    static let code: UInt64 = 0x40_0000
    static let stackTop: UInt64 = 0x10_0000
    /// Nothing is there.
    static let nowhere: UInt64 = 0x2000_0000

    init(bytes: UInt64 = 8 << 20) throws {
        memory = try GuestMemory(scratchBytes: bytes)
        process = LinuxProcess(space: AddressSpace(in: memory))
        let count = Self.data.upperBound - Self.data.lowerBound
        _ = try process.mmap(.init([Self.data.lowerBound, count, 3, 0x32, .max, 0]), memory)
        processor.registers.rip = Self.code
        processor.registers.rsp = Self.stackTop - 0x1000
        processor.registers.rflags = 0x202
    }

    /// `gettid` of the thread that the vCPU holds.
    var thread: UInt32 { process.threads.running.number }

    /// The running thread makes a call.
    @discardableResult
    func call(_ call: SystemCall, _ arguments: UInt64...) throws -> Course {
        var registers = processor.registers
        let all = arguments + [UInt64](repeating: 0, count: 6 - arguments.count)
        (registers.rdi, registers.rsi, registers.rdx) = (all[0], all[1], all[2])
        (registers.r10, registers.r8, registers.r9) = (all[3], all[4], all[5])
        registers.rax = call.rawValue
        processor.registers = registers
        course = try process.serveCall(on: processor, at: moment, memory)
        return course
    }

    /// The same for a call that returns at once to the thread that made it: its value, or its error's number below 0.
    @discardableResult
    func value(_ number: SystemCall, _ arguments: UInt64...) throws -> Int64 {
        let caller = thread
        let all = arguments + [UInt64](repeating: 0, count: 6 - arguments.count)
        let course = try call(number, all[0], all[1], all[2], all[3], all[4], all[5])
        #expect(course == .run && thread == caller, "\(number) ended in \(course)")
        return result
    }

    /// What the thread on the vCPU finds in RAX.
    var result: Int64 { Int64(bitPattern: processor.registers.rax) }

    /// Time passes while nobody runs.
    @discardableResult
    func sleep(_ nanoseconds: UInt64) throws -> Course {
        moment.monotonic += nanoseconds
        moment.realtime += nanoseconds
        course = try process.goOn(on: processor, at: moment, memory)
        return course
    }

    @discardableResult
    func preempt(after nanoseconds: UInt64 = 0) throws -> Course {
        moment.monotonic += nanoseconds
        moment.realtime += nanoseconds
        course = try process.preempt(on: processor, at: moment, memory)
        return course
    }

    @discardableResult
    func fault(_ vector: UInt8, code: UInt32? = nil, address: UInt64? = nil) throws -> Course {
        let fault = Fault(vector: vector, errorCode: code, address: address, rip: processor.registers.rip)
        course = try process.serveFault(fault, on: processor, at: moment, memory)
        return course
    }

    /// Makes a thread as the C library does, with the stack and the base told from its number; the maker runs on.
    @discardableResult
    func makeThread(stack: UInt64 = 0, base: UInt64 = 0, clearing address: UInt64 = 0) throws -> UInt32 {
        let number = try value(.clone, 0x3D_0F00, stack, 0, address, base)
        return UInt32(try #require(UInt32(exactly: number), "clone: \(number)"))
    }

    func word(_ address: UInt64, bytes: Int = 8) throws -> UInt64 {
        try process.space.readWord(address, bytes: bytes, memory)
    }

    func put(_ words: UInt64..., at address: UInt64) throws {
        for (index, word) in words.enumerated() {
            try process.space.writeWord(word, at: address + UInt64(index) * 8, memory)
        }
    }

    /// Switches to a thread by letting all before it have their turn.
    func turn(to number: UInt32) throws {
        for _ in 0..<ThreadTable.limit where thread != number { try preempt() }
        #expect(thread == number)
    }

    /// Installs a handler, with a restorer.
    func handle(_ signal: Signal, at handler: UInt64, _ flags: SignalAction.Flags = [], mask: UInt64 = 0) throws {
        let address = Self.data.lowerBound + 0x800
        try put(handler, flags.union(.restorer).rawValue, Self.code + 0x500, mask, at: address)
        #expect(try value(.rtSigaction, UInt64(signal.number), address, 0, 8) == 0)
    }

    /// The handler that the thread on the vCPU is at the beginning of has ended: its `ret` and its restorer's call.
    @discardableResult
    func returnFromHandler() throws -> Course {
        processor.registers.rsp += 8
        processor.registers.rip = Self.code + 0x509
        processor.registers.rax = SystemCall.rtSigreturn.rawValue
        course = try process.serveCall(on: processor, at: moment, memory)
        return course
    }
}

extension Int64 {
    static func error(_ error: Errno) -> Int64 { -Int64(error.rawValue) }
}
