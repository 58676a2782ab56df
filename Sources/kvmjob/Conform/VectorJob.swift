// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The job that a vector is: real mode, its memory and registers, and a budget of one step.
///
/// Beside the vector's own memory there is an interrupt table entry for each exception that later processors raise where an
/// 8088 goes on. Its handler is one HLT, above the megabyte that an 8088 can reach: so such an exception is seen as what it is.
struct VectorJob: Sendable {
    let spec: JobSpec
    let image: [UInt8]

    /// FLAGS that vectors set and that are compared: OF DF IF TF SF ZF AF PF CF. The others are fixed, and not the same on all
    /// processors: on an 8088 bits 12 to 15 are always one.
    static let flags: UInt16 = 0x0FD5
    /// An 8088's megabyte, and as far beyond as real mode reaches.
    static let memoryBytes: UInt64 = (1 << 20) + (64 << 10)
    /// An instruction takes microseconds; this is for one that never ends.
    static let wallTime = Duration.milliseconds(500)
    /// Bytes between two places that are dumped as one.
    private static let dumpGap: UInt32 = 256

    /// - Throws: ``ValueError`` for a vector that speaks of more places than a job can have.
    init(_ vector: TestVector) throws(ValueError) {
        let memory = ExceptionTrap.add(to: vector)
        let pieces = Self.ranges(memory.keys, gap: 0)
        let dumps = Self.ranges(vector.expectedMemory.keys, gap: Self.dumpGap)
        guard pieces.count <= MemoryRange.pieceLimit, dumps.count <= MemoryRange.dumpLimit else {
            throw ValueError("it speaks of \(pieces.count) places in memory: too many for one job")
        }
        image = memory.sorted { $0.key < $1.key }.map(\.value)
        spec = Self.spec(vector, pieces: pieces, dumps: dumps)
    }

    private static func spec(_ vector: TestVector, pieces: [MemoryRange], dumps: [MemoryRange]) -> JobSpec {
        var spec = JobSpec(
            label: JobList.label(vector.name), mode: .real16, entryPoint: UInt64(vector.initial(.ip)),
            memoryBytes: memoryBytes, budget: Budget(steps: 1, wallTime: wallTime))
        let general: [(RegisterName, TestVector.Register)] = [
            (.rax, .ax), (.rbx, .bx), (.rcx, .cx), (.rdx, .dx), (.rsp, .sp), (.rbp, .bp), (.rsi, .si), (.rdi, .di),
        ]
        for (name, register) in general { spec.registers[name] = UInt64(vector.initial(register)) }
        spec.registers[.rflags] = UInt64(vector.initial(.flags) & flags)
        for (name, register) in [(SegmentName.cs, TestVector.Register.cs), (.ds, .ds), (.es, .es), (.ss, .ss)] {
            let selector = vector.initial(register)
            spec.segments[name] = Segment(
                base: UInt64(selector) << 4, limit: 0xFFFF, selector: selector,
                attributes: SegmentAttributes(type: name == .cs ? 11 : 3, s: true))
        }
        (spec.pieces, spec.dumps) = (pieces, dumps)
        return spec
    }

    /// The addresses as ranges, two of which are one if no more than so many bytes lie between them.
    static func ranges(_ addresses: some Sequence<UInt32>, gap: UInt32) -> [MemoryRange] {
        var ranges: [MemoryRange] = []
        for address in addresses.sorted().map(UInt64.init) {
            if let last = ranges.last, address <= last.address + last.count + UInt64(gap) {
                ranges[ranges.count - 1].count = address + 1 - last.address
            } else {
                ranges.append(MemoryRange(address: address, count: 1))
            }
        }
        return ranges
    }
}

/// Handlers for exceptions that the vector does not know of.
enum ExceptionTrap {
    /// #DE, #DB, #BR, #UD, #NM, #SS and #GP; the 8088 itself raises #DE alone, and a vector in which it does has its own handler.
    static let exceptions: [UInt8] = [0, 1, 5, 6, 7, 12, 13]

    /// The handlers' segment begins 16 bytes below 1 MiB.
    static let segment: UInt16 = 0xFFFF
    private static let offset: UInt16 = 0x110
    private static let halt: UInt8 = 0xF4

    /// The vector's memory before the instruction, with the handlers.
    static func add(to vector: TestVector) -> [UInt32: UInt8] {
        var memory = vector.initialMemory
        for number in exceptions {
            let entry = UInt32(number) * 4
            guard !(entry..<entry + 4).contains(where: { vector.expectedMemory[$0] != nil }) else { continue }
            let handler = offset + UInt16(number)
            let bytes = [handler, segment].flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
            for (index, byte) in bytes.enumerated() { memory[entry + UInt32(index)] = byte }
            memory[UInt32(segment) << 4 + UInt32(handler)] = halt
        }
        return memory
    }

    /// The exception whose handler halted here, behind its HLT.
    static func exception(cs: UInt16, ip: UInt64) -> UInt8? {
        guard cs == segment else { return nil }
        return exceptions.first { UInt64(offset) + UInt64($0) + 1 == ip }
    }
}
