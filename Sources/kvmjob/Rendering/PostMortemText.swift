// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Disassembly
internal import JobModel

/// What a person looks at to see why a guest ended as it did.
struct PostMortemText {
    /// The parts that were asked for.
    struct Sections: OptionSet, Sendable {
        let rawValue: Int
        static let code = Sections(rawValue: 1)
        static let stack = Sections(rawValue: 2)
        static let exits = Sections(rawValue: 4)
        static let fpu = Sections(rawValue: 8)
    }

    let report: JobReport
    let sections: Sections
    /// Whether lines may stand out, as on a terminal.
    var isBold = false

    /// The parts that are known, one below the other.
    var lines: [String] {
        guard case .ended(let result) = report.end else { return [] }
        var lines = unemulatable
        if sections.contains(.code) { lines += report.listing.map { $0.lines(bold: isBold) } ?? [] }
        if sections.contains(.stack), let window = result.postMortem.stack {
            lines += StackTable(window: window, size: report.codeSize).lines
        }
        if sections.contains(.exits) { lines += ExitTable(exits: result.postMortem.exits).lines }
        if sections.contains(.fpu) {
            lines += result.postMortem.fpu.flatMap(FloatState.init)?.lines ?? ["fpu: not available"]
        }
        return lines
    }

    /// What KVM would not run, which the code around RIP does not show where RIP is lost.
    private var unemulatable: [String] {
        guard sections.contains(.code), let instruction = report.unemulatable else { return [] }
        return ["not run by KVM: \(instruction.text)  (\(HexText.describe(bytes: instruction.bytes)))"]
    }
}

extension JobReport {
    /// The size of the code that the guest ran at its end, as far as registers tell; else of that which it started with.
    var codeSize: CodeSize {
        guard case .ended(let result) = end, let system = result.system else { return CodeSize(mode) }
        return CodeSize(system)
    }

    /// The code around RIP, or nil where it is not known.
    var listing: CodeListing? {
        guard case .ended(let result) = end, let window = result.postMortem.code else { return nil }
        return CodeListing(
            window, rip: result.registers?.rip, base: result.system?.cs.base ?? 0, size: codeSize, entries: entries)
    }

    /// The instruction that KVM would not run, or nil where that is not how the job ended.
    var unemulatable: Instruction? {
        guard case .ended(let result) = end, case .unemulatable(let found) = result.outcome, !found.bytes.isEmpty
        else { return nil }
        return Disassembler(codeSize).instruction(at: found.rip ?? 0, in: found.bytes)
            ?? Instruction(address: found.rip ?? 0, bytes: found.bytes, text: Instruction.undecodable)
    }
}
