// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc

@testable import KVM
@testable import LinuxPersonality

/// An argument of a call, for the kernel and for the personality alike.
enum Argument: Sendable {
    case number(Int)
    case text(String)
    case bytes([UInt8])
    /// A buffer to be filled, of this size.
    case room(Int)
}

/// What came of a call: what it returned (an error as its negated number), and the buffers that it filled.
struct CallResult: Equatable {
    var value: Int
    var rooms: [[UInt8]]
}

/// A process whose calls are made by hand.
struct Caller: ~Copyable {
    var process: LinuxProcess
    let memory: GuestMemory
    var waited: Wait?

    /// What is mapped of it, from the lowest address that can be.
    static let window: Range<UInt64> = 0x1_0000..<0x10_0000
    /// The last page, which cannot be written.
    static let readOnlyPage = window.upperBound - 4096

    init(_ layers: [FileTree] = [], limits: OverlayTree.Limits = OverlayTree.Limits()) throws {
        let memory = try GuestMemory(scratchBytes: 4 << 20)
        var process = LinuxProcess(space: AddressSpace(in: memory))
        let count = Self.window.upperBound - Self.window.lowerBound
        // Private, anonymous, at this address.
        _ = try process.mmap(.init([Self.window.lowerBound, count, 3, 0x32, .max, 0]), memory)
        _ = try process.mprotect(.init([Self.readOnlyPage, 4096, 1, 0, 0, 0]), memory)
        process.files = ProcessFiles(tree: OverlayTree(layers: layers, limits: limits))
        self.memory = memory
        self.process = process
    }

    /// Serves a call with arguments laid out in guest memory from 64 KiB on.
    mutating func call(_ call: SystemCall, _ arguments: Argument...) throws -> CallResult {
        try serve(call, arguments)
    }

    mutating func serve(_ call: SystemCall, _ arguments: [Argument]) throws -> CallResult {
        var (registers, next): ([UInt64], UInt64) = ([], 1 << 16)
        var rooms: [(UInt64, Int)] = []
        func place(_ bytes: [UInt8]) throws -> UInt64 {
            defer { next += (UInt64(bytes.count) + 63) / 64 * 64 }
            try process.space.write(bytes, at: next, memory)
            return next
        }
        for argument in arguments {
            switch argument {
            case .number(let number): registers.append(UInt64(bitPattern: Int64(number)))
            case .text(let text): registers.append(try place(Array(text.utf8) + [0]))
            case .bytes(let bytes): registers.append(try place(bytes))
            case .room(let count):
                rooms.append((next, count))
                registers.append(try place([UInt8](repeating: 0, count: count)))
            }
        }
        let value = try raw(call, registers)
        var filled: [[UInt8]] = []
        for (address, count) in rooms { filled.append(try bytes(at: address, count: count)) }
        return CallResult(value: value, rooms: filled)
    }

    /// What the program finds at an address.
    mutating func bytes(at address: UInt64, count: Int) throws -> [UInt8] {
        try process.space.read(address, count: count, memory)
    }

    /// Serves a call with registers as they are. A call that waits gives EINTR, and `waited` says for what.
    mutating func raw(_ call: SystemCall, _ registers: [UInt64]) throws -> Int {
        var all: [6 of UInt64] = .init(repeating: 0)
        for (index, register) in registers.prefix(6).enumerated() { all[index] = register }
        waited = nil
        do throws(Errno) {
            switch try process.perform(call, CallArguments(all), memory) {
            case .value(let value): return Int(Int64(bitPattern: value))
            case .wait(let wait):
                waited = wait
                return -Int(EINTR)
            default: return Int.min
            }
        } catch {
            return -Int(error.rawValue)
        }
    }
}
