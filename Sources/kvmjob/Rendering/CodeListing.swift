// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Disassembly
internal import JobModel

/// The instructions in a window of memory around RIP.
struct CodeListing {
    /// Instructions in order, their addresses as RIP holds them: offsets in the code segment.
    let instructions: [Instruction]
    /// Which of them RIP points at, or nil where it points at none of them.
    let current: Int?
    /// The linear address of the code segment, which is 0 in 64-bit code.
    let base: UInt64
    let size: CodeSize

    /// Reads a window so that an instruction begins at RIP: what stands before it from the guest's first instruction, if that is
    /// in the window and its way leads to RIP, else from the earliest byte from which the instructions meet at RIP; what follows
    /// from RIP on. Without RIP in the window it is read from its first byte.
    ///
    /// - Parameter entries: linear addresses, one of which is that of the guest's first instruction.
    init(_ window: MemoryWindow, rip: UInt64?, base: UInt64, size: CodeSize, entries: [UInt64] = []) {
        self.base = size == .bits64 ? 0 : base
        self.size = size
        let disassembler = Disassembler(size)
        let first = (window.address &- self.base) & size.addressMask
        let rip = rip.map { $0 & size.addressMask }
        let place = rip.map { ($0 &- first) & size.addressMask }
        guard let rip, let place, place < UInt64(window.bytes.count) else {
            instructions = disassembler.instructions(at: first, in: window.bytes)
            current = nil
            return
        }
        let known = entries.lazy.compactMap { [base = self.base] entry -> [Instruction]? in
            let start = ((entry &- base) &- first) & size.addressMask
            guard start < place else { return nil }
            return disassembler.instructions(
                filling: window.bytes[Int(start)..<Int(place)], at: first &+ start & size.addressMask)
        }
        let before = known.first ?? disassembler.instructions(before: rip, in: window.bytes[..<Int(place)])
        instructions = before + disassembler.instructions(at: rip, in: window.bytes[Int(place)...])
        current = before.count
    }

    /// Whether an address of the listing is not a linear one.
    var hasBase: Bool { base != 0 }

    /// The linear address of an instruction.
    func linearAddress(of instruction: Instruction) -> UInt64 { (instruction.address &+ base) & size.addressMask }
}

extension CodeListing {
    /// The lines before RIP that are shown to people: 10.
    static let shownBefore = 10
    /// The lines from RIP on that are shown to people: 10.
    static let shownAfter = 10
    /// So many instructions and more that are zeros and nothing else are one line: 3.
    static let foldedZeros = 3
    /// What stands before the current instruction.
    static let marker = "=>"

    /// A heading, and a line for each instruction near RIP, the current one marked; on a terminal it is bold too.
    func lines(bold: Bool) -> [String] {
        let shown = shown
        let digits = size.addressDigits(upTo: instructions.map(\.address).max() ?? 0)
        let rows = shown.map { indices in
            guard indices.count == 1 else {
                let count = indices.reduce(0) { $0 + instructions[$1].bytes.count }
                return ["  ", "...", "", "\(count) bytes of 0"]
            }
            let instruction = instructions[indices.lowerBound]
            return [
                indices.lowerBound == current ? Self.marker : "  ", HexText.padded(instruction.address, digits: digits),
                HexText.describe(bytes: instruction.bytes), instruction.text,
            ]
        }
        let lines = AlignedColumns(rows: rows).lines
        return [heading] + zip(shown, lines).map { $0.lowerBound == current && bold ? Terminal.bold($1) : $1 }
    }

    private var heading: String {
        "code, \(size.rawValue)-bit" + (hasBase ? ", in the segment at \(HexText.describe(base))" : "")
    }

    /// The lines that are shown, each by the instructions that it tells of.
    private var shown: ArraySlice<Range<Int>> {
        let lines = folded
        guard let current, let place = lines.firstIndex(where: { $0.contains(current) }) else {
            return lines.prefix(Self.shownAfter)
        }
        return lines[max(0, place - Self.shownBefore)..<min(lines.count, place + Self.shownAfter)]
    }

    /// All instructions, those that are nothing but zeros together where they are many; never the current one.
    private var folded: [Range<Int>] {
        var (lines, start) = ([Range<Int>](), 0)
        while start < instructions.count {
            let end = instructions[start...].indices.first {
                $0 == current || instructions[$0].bytes.contains { $0 != 0 }
            }
            let zeros = start..<(end ?? instructions.count)
            if zeros.count >= Self.foldedZeros { lines.append(zeros) } else { lines += zeros.map { $0..<$0 + 1 } }
            if let end { lines.append(end..<end + 1) }
            start = zeros.upperBound + 1
        }
        return lines
    }
}

extension CodeSize {
    /// The size of the code that a CPU in this state runs.
    init(_ system: SystemRegisters) {
        let isLong = BitNames.isLongModeActive(system.efer)
        let attributes = system.cs.attributes
        self = isLong && attributes.l ? .bits64 : attributes.db ? .bits32 : .bits16
    }

    /// The size of the code that a mode starts with.
    init(_ mode: GuestMode) {
        switch mode {
        case .real16: self = .bits16
        case .protected32: self = .bits32
        case .long64, .user64, .linux: self = .bits64
        }
    }

    /// What is left of an offset in a segment: all but the bits above 32, outside 64-bit code.
    var addressMask: UInt64 { self == .bits64 ? .max : UInt64(UInt32.max) }

    /// Bytes of a word on the stack.
    var wordBytes: Int { Int(rawValue) / 8 }

    /// As many digits as addresses up to this one are shown with: 4, 8 or 16, and no fewer than code of this size is used to.
    func addressDigits(upTo address: UInt64) -> Int {
        if address > UInt64(UInt32.max) { return 16 }
        return self == .bits16 && address <= UInt64(UInt16.max) ? 4 : 8
    }
}
