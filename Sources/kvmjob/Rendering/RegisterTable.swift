// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The registers at the end of a job, as a person wants to read them.
///
/// General registers in four columns, 8 digits wide where all of them fit and 16 otherwise; flags and control bits by name;
/// segments with what their attributes mean.
struct RegisterTable {
    let registers: Registers?
    let system: SystemRegisters?
    /// Each vCPU by number, where there are several: a line above, with what is known of it at a glance.
    var processors: [ProcessorReport] = []

    var lines: [String] {
        guard registers != nil || system != nil else { return processorLines + ["registers: not available"] }
        return processorLines + generalLines + systemLines
    }

    private var processorLines: [String] {
        processors.enumerated().map { number, processor in
            let steps = processor.steps.map { "  \($0) steps" } ?? ""
            let place = processor.registers.map { registers in
                "  rip \(HexText.describe(registers.rip))  rax \(HexText.describe(registers.rax))"
                    + "  rsp \(HexText.describe(registers.rsp))"
            }
            return "vcpu \(number) \(processor.state.name)\(steps)\(place ?? "")"
        }
    }

    private static let columns: [RegisterName] = [
        .rax, .rbx, .rcx, .rdx, .rsi, .rdi, .rbp, .rsp, .r8, .r9, .r10, .r11, .r12, .r13, .r14, .r15,
    ]
    private static let perLine = 4

    private var generalLines: [String] {
        guard let registers else { return [] }
        let digits = Self.columns.allSatisfy { registers[$0] <= UInt32.max } ? 8 : 16
        let cell = { (name: RegisterName) in
            Self.label(name.name) + HexText.padded(registers[name], digits: digits)
        }
        let lines = stride(from: 0, to: Self.columns.count, by: Self.perLine).map { start in
            Self.columns[start..<start + Self.perLine].map(cell).joined(separator: "  ")
        }
        let flags = BitNames.describeFlags(registers.rflags)
        return lines + [
            cell(.rip) + "  rflags " + HexText.padded(registers.rflags, digits: 8) + " " + flags
        ]
    }

    private var systemLines: [String] {
        guard let system else { return [] }
        return system.namedSegments.map(Self.line) + [
            Self.line("gdt", system.gdt), Self.line("idt", system.idt),
            "cr0 \(HexText.padded(system.cr0, digits: 8)) \(BitNames.cr0.describe(system.cr0))",
            "cr2 \(HexText.padded(system.cr2, digits: 16))  cr3 \(HexText.padded(system.cr3, digits: 16))  "
                + "cr8 \(HexText.padded(system.cr8, digits: 1))",
            "cr4 \(HexText.padded(system.cr4, digits: 8)) \(BitNames.cr4.describe(system.cr4))",
            "efer \(HexText.padded(system.efer, digits: 8)) \(BitNames.efer.describe(system.efer))  "
                + "apic_base \(HexText.padded(system.apicBase, digits: 8))",
        ]
    }

    private static func line(_ name: String, _ segment: Segment) -> String {
        label(name) + HexText.padded(segment.selector, digits: 4) + "  base \(HexText.padded(segment.base, digits: 16))"
            + "  limit \(HexText.padded(segment.limit, digits: 8))  \(meaning(of: segment.attributes))"
    }

    private static func line(_ name: String, _ table: DescriptorTable) -> String {
        "\(name)       base \(HexText.padded(table.base, digits: 16))  limit \(HexText.padded(table.limit, digits: 4))"
    }

    private static func meaning(of attributes: SegmentAttributes) -> String {
        guard !attributes.isUnusable else { return "unusable" }
        guard attributes.present else { return "not present" }
        guard attributes.s else { return "system type \(HexText.describe(attributes.type))" }
        let isCode = attributes.type & 8 != 0
        let size = attributes.l && isCode ? "64-bit" : attributes.db ? "32-bit" : "16-bit"
        return "\(isCode ? "code" : "data") \(size) ring \(attributes.dpl)"
    }

    /// A name and the space behind it, four characters wide.
    private static func label(_ name: String) -> String {
        name + String(repeating: " ", count: max(1, 4 - name.count))
    }
}

extension RegisterTable {
    init(_ result: JobResult) {
        self.init(registers: result.registers, system: result.system, processors: result.processors)
    }
}
