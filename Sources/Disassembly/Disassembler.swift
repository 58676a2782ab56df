// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CCapstone

/// Takes x86 machine code apart: Capstone, behind a surface that any bytes may meet.
///
/// One disassembler belongs to one task at a time.
@safe public final class Disassembler {
    /// The code that it reads.
    public let size: CodeSize

    // SAFETY: the handle is closed and the scratch instruction freed in `deinit`, which nothing outlives: no reference to either
    // leaves this class. Both are nil where Capstone could not be opened, for want of memory; nothing is decoded then.
    private var handle: csh = 0
    private let scratch: UnsafeMutablePointer<cs_insn>?

    /// A disassembler of code of this size.
    public init(_ size: CodeSize) {
        self.size = size
        let mode =
            switch size {
            case .bits16: CS_MODE_16
            case .bits32: CS_MODE_32
            case .bits64: CS_MODE_64
            }
        // SAFETY: the pointer to the handle is used for the length of the call.
        var handle: csh = 0
        let isOpen = unsafe cs_open(CS_ARCH_X86, mode, &handle) == CS_ERR_OK
        // SAFETY: the handle is open where `cs_malloc` is called with it.
        unsafe scratch = isOpen ? cs_malloc(handle) : nil
        self.handle = handle
    }

    deinit {
        // SAFETY: `cs_malloc` made one instruction, and nobody else frees it. Closing a handle of 0 does nothing.
        if let scratch = unsafe scratch { unsafe cs_free(scratch, 1) }
        _ = unsafe cs_close(&handle)
    }

    /// The instruction that begins with the first of these bytes, or nil where they begin none, or only a part of one.
    ///
    /// - Parameter address: what the instruction pointer is there; targets of jumps count from it.
    public func instruction(at address: UInt64, in bytes: some Collection<UInt8>) -> Instruction? {
        let code = Array(bytes.prefix(Instruction.byteLimit))
        guard let scratch = unsafe scratch, !code.isEmpty else { return nil }
        let isDecoded = unsafe code.withUnsafeBufferPointer { buffer in
            // SAFETY: Capstone reads `count` bytes from `next` on, which the buffer holds; it moves the three variables, which live
            // as long as the call, and writes the scratch instruction, which is ours.
            var next = buffer.baseAddress
            var (count, address) = (buffer.count, address)
            return unsafe cs_disasm_iter(handle, &next, &count, &address, scratch)
        }
        // SAFETY: the scratch instruction was written by the call above, or by an earlier one.
        let length = Int(unsafe scratch.pointee.size)
        guard isDecoded, (1...code.count).contains(length) else { return nil }
        return Instruction(address: address, bytes: Array(code[..<length]), text: unsafe Self.text(of: scratch.pointee))
    }

    /// One instruction after the other up to the end of the bytes. A byte that begins none is ``Instruction/undecodable`` by
    /// itself; an instruction that the end cuts off is left out.
    public func instructions(at address: UInt64, in bytes: some Collection<UInt8>) -> [Instruction] {
        var (found, rest, address) = ([Instruction](), Array(bytes)[...], address)
        while let first = rest.first {
            let decoded = instruction(at: address, in: rest)
            if decoded == nil, !found.isEmpty, rest.count < Instruction.byteLimit { break }
            let next = decoded ?? Instruction(address: address, bytes: [first], text: Instruction.undecodable)
            found.append(next)
            (rest, address) = (rest.dropFirst(next.bytes.count), next.end)
        }
        return found
    }

    /// The instructions of a run of bytes that ends where one of them ends, as many of the bytes as can be read so.
    ///
    /// Code can be read from any byte on. What stands before a known place is read from the earliest byte from which every byte
    /// belongs to an instruction and the last of these ends at that place.
    public func instructions(before end: UInt64, in bytes: some Collection<UInt8>) -> [Instruction] {
        let bytes = Array(bytes)
        for start in bytes.indices {
            if let run = instructions(filling: bytes[start...], at: end &- UInt64(bytes.count - start)) { return run }
        }
        return []
    }

    /// The instructions to which all of these bytes belong, or nil where some belong to none, or to a part of one.
    public func instructions(filling bytes: some Collection<UInt8>, at address: UInt64) -> [Instruction]? {
        var (found, rest, address) = ([Instruction](), Array(bytes)[...], address)
        while !rest.isEmpty {
            guard let next = instruction(at: address, in: rest) else { return nil }
            found.append(next)
            (rest, address) = (rest.dropFirst(next.bytes.count), next.end)
        }
        return found
    }

    private static func text(of instruction: cs_insn) -> String {
        let mnemonic = text(ofBytes: unsafe instruction.mnemonic)
        let operands = text(ofBytes: unsafe instruction.op_str)
        // Without operands there is nothing behind the mnemonic.
        return [mnemonic, operands].filter { !$0.isEmpty }.joined(separator: " ")
    }

    /// The text in an array of `char`, which C imports as a tuple, up to the first zero.
    private static func text<Characters>(ofBytes characters: Characters) -> String {
        // SAFETY: a tuple of `CChar` is bytes and nothing else, and they are read while the copy lives.
        unsafe withUnsafeBytes(of: characters) { unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
