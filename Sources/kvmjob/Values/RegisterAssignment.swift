// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A first value for a register or for a part of one: `--set REG=VALUE`.
struct RegisterAssignment: Hashable, Sendable {
    /// What is set.
    enum Target: Hashable, Sendable {
        /// The whole register; a narrower name such as `al` leaves its other bits zero.
        case register(RegisterName)
        /// The instruction pointer.
        case entryPoint
        case segment(SegmentName, SegmentPart)
        case table(TableName, TablePart)
        case control(ControlName)
    }

    /// A segment register as instructions see it, or a part of it. The raw values are what stands behind the dot.
    enum SegmentPart: String, Hashable, Sendable, CaseIterable {
        /// The selector, and in real mode the base that goes with it.
        case whole = ""
        case selector = "sel"
        case base, limit
        case attributes = "attr"

        var bits: Int {
            switch self {
            case .whole, .selector: 16
            case .base: 64
            case .limit: 32
            case .attributes: 13
            }
        }
    }

    /// A part of a descriptor-table register.
    enum TablePart: String, Hashable, Sendable, CaseIterable {
        case base, limit

        var bits: Int { self == .base ? 64 : 16 }
    }

    var target: Target
    var value: UInt64

    /// Reads `ax=2`, `r8d=0xffff`, `fs.base=0x1000` or `cr0=0x11`.
    ///
    /// - Throws: ``ValueError`` for an unknown name, and for a value wider than the name.
    init(argument: String) throws(ValueError) {
        guard let equals = argument.firstIndex(of: "=") else {
            throw ValueError("\"\(argument)\" has no \"=\": write REG=VALUE, as in ax=2")
        }
        let name = argument[..<equals].lowercased()
        guard let place = Self.place(named: name) else {
            throw ValueError(
                "\"\(name)\" is no register that can be set: write one of rax to r15, a narrower name of it such as eax, ax, al "
                    + "or r8d, flags, ip, a part of a segment such as ds.base, gdt.base, cr0 or efer")
        }
        let text = String(argument[argument.index(after: equals)...])
        let value = try WholeNumber.parse(text)
        guard place.bits == 64 || value >> UInt64(place.bits) == 0 else {
            throw ValueError("\(text) does not fit in \(name), which has \(place.bits) bits")
        }
        (target, self.value) = (place.target, value)
    }

    private static func place(named name: String) -> (target: Target, bits: Int)? {
        let parts = name.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 else { return generalPlace(named: name) ?? systemPlace(named: name) }
        if let segment = SegmentName.allCases.first(where: { $0.name == parts[0] }) {
            guard !parts[1].isEmpty else { return nil }
            return SegmentPart(rawValue: parts[1]).map { (.segment(segment, $0), $0.bits) }
        }
        guard let table = TableName.allCases.first(where: { $0.name == parts[0] }) else { return nil }
        return TablePart(rawValue: parts[1]).map { (.table(table, $0), $0.bits) }
    }

    private static func generalPlace(named name: String) -> (target: Target, bits: Int)? {
        for register in RegisterName.allCases {
            guard let index = names(of: register).firstIndex(of: name) else { continue }
            return (register == .rip ? .entryPoint : .register(register), 64 >> index)
        }
        return nil
    }

    private static func systemPlace(named name: String) -> (target: Target, bits: Int)? {
        if let control = ControlName.allCases.first(where: { $0.name == name }) { return (.control(control), 64) }
        let segment = SegmentName.allCases.first { $0.name == name }
        return segment.map { (.segment($0, .whole), SegmentPart.whole.bits) }
    }

    /// The names of a register at 64, 32, 16 and, where it has one, 8 bits. The high bytes (`ah`) are left out.
    private static func names(of register: RegisterName) -> [String] {
        let full = register.name
        let stem = String(full.dropFirst())
        return switch register {
        case .rax, .rbx, .rcx, .rdx: [full, "e" + stem, stem, "\(stem.prefix(1))l"]
        case .rsi, .rdi, .rbp, .rsp: [full, "e" + stem, stem, stem + "l"]
        case .r8, .r9, .r10, .r11, .r12, .r13, .r14, .r15: [full, full + "d", full + "w", full + "b"]
        case .rip, .rflags: [full, "e" + stem, stem]
        }
    }
}

extension RegisterAssignment.Target: CustomStringConvertible {
    /// The name of the whole register, or of its part.
    var description: String {
        switch self {
        case .register(let register): register.name
        case .entryPoint: RegisterName.rip.name
        case .segment(let segment, .whole): segment.name
        case .segment(let segment, let part): "\(segment.name).\(part.rawValue)"
        case .table(let table, let part): "\(table.name).\(part.rawValue)"
        case .control(let control): control.name
        }
    }
}
