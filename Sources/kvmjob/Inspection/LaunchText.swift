// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Disassembly
internal import GuestImage
internal import JobModel

/// A launch plan for people: what the image is, how it starts, and a map of guest memory.
struct LaunchText {
    let plan: LaunchPlan
    let name: String
    /// The image's.
    let byteCount: UInt64

    /// The instructions that are shown of the image's first: 4.
    static let instructionLimit = 4

    var lines: [String] {
        ["\(ShortText.plain(name)): \(plan.format.description), \(SizeText.approximate(byteCount))", ""]
            + AlignedColumns(rows: properties.map { [$0.name, $0.text] }).lines + code + [""] + map
    }

    /// Why there is no plan.
    static func lines(_ error: LaunchError, name: String) -> [String] {
        let rows = [
            ["rule", error.rule.rawValue], ["field", error.field],
            ["value", error.value.map { "\($0.hexadecimal) (\($0))" } ?? "-"],
            ["place", error.offset.map { "byte \($0) of the file" } ?? "-"],
        ]
        return ["\(ShortText.plain(name)): cannot be started", ""] + AlignedColumns(rows: rows).lines
            + ["", error.message]
    }

    // MARK: Properties

    private var properties: [(name: String, text: String)] {
        var rows = [(name: "format", text: plan.format.rawValue)]
        rows += plan.facts.map { ($0.name, $0.text) }
        rows.append(("start", "\(plan.mode.name), ring \(plan.mode == .user64 ? 3 : 0), at \(entry)"))
        if !registers.isEmpty { rows.append(("registers", registers)) }
        if let gdt = plan.tables[.gdt] {
            rows.append(
                (
                    "tables",
                    "gdt \(gdt.base.hexadecimal)" + (plan.controls[.cr3].map { ", cr3 \($0.hexadecimal)" } ?? "")
                ))
        }
        let least = SizeText.describe(plan.leastMemoryBytes)
        rows.append(("memory", "\(SizeText.describe(plan.memoryBytes)), at least \(least)"))
        if let rom = plan.rom {
            rows.append(
                ("rom", "\(span(rom.address, UInt64(rom.bytes.count))), \(SizeText.describe(UInt64(rom.bytes.count)))"))
            rows.append(
                (
                    "shadow",
                    "\(span(rom.shadowAddress, UInt64(rom.shadowBytes.count))), the ROM's last \(SizeText.describe(UInt64(rom.shadowBytes.count)))"
                ))
        }
        rows += plan.needs.map { ("needs", $0.description) }
        rows += plan.notes.map { ("note", $0) }
        return rows
    }

    private var entry: String {
        guard let code = plan.segments[.cs], plan.mode == .real16 else { return plan.entryPoint.hexadecimal }
        return HexText.padded(code.selector, digits: 4) + ":" + HexText.padded(plan.entryPoint, digits: 4)
    }

    private var registers: String {
        let is32 = plan.mode == .protected32
        return RegisterName.allCases.compactMap { name in
            plan.registers[name].map { "\(is32 ? "e" + name.name.dropFirst() : name.name) \($0.hexadecimal)" }
        }.joined(separator: ", ")
    }

    // MARK: Code

    /// The first instructions, up to a jump, where the image has bytes for them.
    private var code: [String] {
        let bytes = firstBytes
        guard !bytes.isEmpty else { return [] }
        let all = Disassembler(CodeSize(plan.mode)).instructions(at: plan.entryPoint, in: Array(bytes))
        let jump = all.firstIndex { $0.text.hasPrefix("jmp") || $0.text.hasPrefix("ljmp") }
        let instructions = all.prefix(min(jump.map { $0 + 1 } ?? .max, Self.instructionLimit))
        let rows = instructions.map { instruction in
            [HexText.describe(instruction.address), HexText.describe(bytes: instruction.bytes), instruction.text]
        }
        return ["", "first instructions"] + AlignedColumns(rows: rows).lines.map { "  " + $0 }
    }

    private var firstBytes: ArraySlice<UInt8> {
        let most = Self.instructionLimit * Instruction.byteLimit
        if let rom = plan.rom { return rom.bytes.suffix(16) }
        guard let region = plan.map.regions.first(where: { $0.address <= plan.entryPoint && plan.entryPoint < $0.end })
        else { return [] }
        return region.bytes.dropFirst(Int(clamping: plan.entryPoint - region.address)).prefix(most)
    }

    // MARK: Map

    /// What is free is shown from this many bytes on: a page.
    static let leastFree: UInt64 = 4096

    /// Every region, and what is free between them.
    private var map: [String] {
        var rows = [["ADDRESS", "SIZE", "KIND", "WHAT"]]
        var end: UInt64 = 0
        for region in plan.map.regions {
            rows += free(end, region.address - end)
            rows.append(row(region.address, region.count, region.role.rawValue, region.name))
            end = region.end
        }
        rows += free(end, plan.memoryBytes - end)
        if let rom = plan.rom { rows.append(row(rom.address, UInt64(rom.bytes.count), "rom", "image")) }
        return AlignedColumns(rows: rows, right: [1]).lines
    }

    private func free(_ address: UInt64, _ count: UInt64) -> [[String]] {
        count < Self.leastFree ? [] : [row(address, count, "-", "free")]
    }

    private func row(_ address: UInt64, _ count: UInt64, _ kind: String, _ what: String) -> [String] {
        [span(address, count), SizeText.approximate(count), kind, what]
    }

    /// The first and the last address.
    private func span(_ address: UInt64, _ count: UInt64) -> String {
        "\(HexText.padded(address, digits: 8))-\(HexText.padded(address + count - 1, digits: 8))"
    }
}
