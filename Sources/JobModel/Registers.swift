// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The general registers of a vCPU, RIP and RFLAGS.
public struct Registers: Sendable, Hashable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public var rax: UInt64, rbx: UInt64, rcx: UInt64, rdx: UInt64, rsi: UInt64, rdi: UInt64, rbp: UInt64, rsp: UInt64

    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public var r8: UInt64, r9: UInt64, r10: UInt64, r11: UInt64, r12: UInt64, r13: UInt64, r14: UInt64, r15: UInt64

    /// The instruction pointer, as an offset in the code segment.
    public var rip: UInt64
    /// The flags. Bit 1 always reads one.
    public var rflags: UInt64

    /// All zero, but for the bit of RFLAGS that is always one.
    public init() {
        (rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp) = (0, 0, 0, 0, 0, 0, 0, 0)
        (r8, r9, r10, r11, r12, r13, r14, r15) = (0, 0, 0, 0, 0, 0, 0, 0)
        rip = 0
        rflags = 2
    }

    /// The register by its name.
    public subscript(name: RegisterName) -> UInt64 {
        get { self[keyPath: name.keyPath] }
        set { self[keyPath: name.keyPath] = newValue }
    }
}

/// The registers that a job can set and that a result shows. The raw values are the numbers on the wire, and their order
/// is the order of the wire's register block.
public enum RegisterName: UInt8, Sendable, Hashable, CaseIterable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case rax = 0, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags

    /// The name in lower case, as in `rax`.
    public var name: String { String(describing: self) }

    var keyPath: WritableKeyPath<Registers, UInt64> {
        switch self {
        case .rax: \.rax
        case .rbx: \.rbx
        case .rcx: \.rcx
        case .rdx: \.rdx
        case .rsi: \.rsi
        case .rdi: \.rdi
        case .rbp: \.rbp
        case .rsp: \.rsp
        case .r8: \.r8
        case .r9: \.r9
        case .r10: \.r10
        case .r11: \.r11
        case .r12: \.r12
        case .r13: \.r13
        case .r14: \.r14
        case .r15: \.r15
        case .rip: \.rip
        case .rflags: \.rflags
        }
    }
}

/// One segment register with its hidden part.
public struct Segment: Sendable, Hashable {
    /// The linear address of the segment's first byte.
    public var base: UInt64
    /// The last valid offset in bytes, granularity already applied.
    public var limit: UInt32
    /// The visible part.
    public var selector: UInt16
    /// Type and rights.
    public var attributes: SegmentAttributes

    /// A segment with all its parts.
    public init(base: UInt64, limit: UInt32, selector: UInt16, attributes: SegmentAttributes) {
        self.base = base
        self.limit = limit
        self.selector = selector
        self.attributes = attributes
    }
}

/// The rights of a segment, packed as on the wire: bits 0-3 type, 4 S, 5-6 DPL, 7 P, 8 AVL, 9 L, 10 D/B, 11 G, 12 unusable.
public struct SegmentAttributes: RawRepresentable, Sendable, Hashable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public var rawValue: UInt16

    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Present code or data (`s`) of this type and privilege; `l` marks 64-bit code, `db` 32-bit, `g` page granularity.
    public init(type: UInt8, s: Bool, dpl: UInt8 = 0, l: Bool = false, db: Bool = false, g: Bool = false) {
        rawValue =
            UInt16(type & 15) | (s ? 1 << 4 : 0) | UInt16(dpl & 3) << 5 | 1 << 7 | (l ? 1 << 9 : 0)
            | (db ? 1 << 10 : 0) | (g ? 1 << 11 : 0)
    }

    /// A segment that faults when it is used.
    public static let unusable = SegmentAttributes(rawValue: 1 << 12)

    /// The descriptor's type field, 0 to 15.
    public var type: UInt8 { UInt8(rawValue & 15) }
    /// Code or data, as opposed to a system segment.
    public var s: Bool { rawValue & 1 << 4 != 0 }
    /// The descriptor's privilege level; of CS it is the CPU's current one.
    public var dpl: UInt8 { UInt8(rawValue >> 5 & 3) }
    /// Present.
    public var present: Bool { rawValue & 1 << 7 != 0 }
    /// Free for the guest's use.
    public var avl: Bool { rawValue & 1 << 8 != 0 }
    /// 64-bit code.
    public var l: Bool { rawValue & 1 << 9 != 0 }
    /// 32-bit default size.
    public var db: Bool { rawValue & 1 << 10 != 0 }
    /// The limit is counted in pages.
    public var g: Bool { rawValue & 1 << 11 != 0 }
    /// The segment register holds nothing.
    public var isUnusable: Bool { rawValue & 1 << 12 != 0 }
}

/// GDTR or IDTR.
public struct DescriptorTable: Sendable, Hashable {
    /// The linear address of the table.
    public var base: UInt64
    /// The last valid byte of the table.
    public var limit: UInt16

    /// A table by address and limit.
    public init(base: UInt64, limit: UInt16) {
        self.base = base
        self.limit = limit
    }
}

/// The segments, descriptor tables and control registers of a vCPU: what KVM calls `kvm_sregs`.
public struct SystemRegisters: Sendable, Hashable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public var cs: Segment, ds: Segment, es: Segment, fs: Segment, gs: Segment, ss: Segment
    /// The task register.
    public var tr: Segment
    /// The local descriptor table.
    public var ldt: Segment
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public var gdt: DescriptorTable, idt: DescriptorTable
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public var cr0: UInt64, cr2: UInt64, cr3: UInt64, cr4: UInt64, cr8: UInt64
    /// The extended-feature MSR, which turns long mode on.
    public var efer: UInt64
    /// The local APIC's base MSR.
    public var apicBase: UInt64

    /// Everything zero and every segment unusable.
    public init() {
        let none = Segment(base: 0, limit: 0, selector: 0, attributes: .unusable)
        (cs, ds, es, fs, gs, ss, tr, ldt) = (none, none, none, none, none, none, none, none)
        (gdt, idt) = (DescriptorTable(base: 0, limit: 0), DescriptorTable(base: 0, limit: 0))
        (cr0, cr2, cr3, cr4, cr8, efer, apicBase) = (0, 0, 0, 0, 0, 0, 0)
    }
}

/// A segment register, by its place in the wire's system block.
public enum SegmentName: UInt8, Sendable, Hashable, CaseIterable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case cs = 0, ds, es, fs, gs, ss, tr, ldt

    /// The name in lower case, as in `cs`.
    public var name: String { String(describing: self) }

    /// Where it is among the system registers.
    public var keyPath: WritableKeyPath<SystemRegisters, Segment> {
        switch self {
        case .cs: \.cs
        case .ds: \.ds
        case .es: \.es
        case .fs: \.fs
        case .gs: \.gs
        case .ss: \.ss
        case .tr: \.tr
        case .ldt: \.ldt
        }
    }
}

/// A descriptor-table register. The raw values are the numbers on the wire.
public enum TableName: UInt8, Sendable, Hashable, CaseIterable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case gdt = 0, idt

    /// The name in lower case, as in `gdt`.
    public var name: String { String(describing: self) }

    /// Where it is among the system registers.
    public var keyPath: WritableKeyPath<SystemRegisters, DescriptorTable> { self == .gdt ? \.gdt : \.idt }
}

/// A control register that a job can set. The raw values are the numbers on the wire.
public enum ControlName: UInt8, Sendable, Hashable, CaseIterable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case cr0 = 0, cr2, cr3, cr4, cr8, efer

    /// The name in lower case, as in `cr0`.
    public var name: String { String(describing: self) }

    /// Where it is among the system registers.
    public var keyPath: WritableKeyPath<SystemRegisters, UInt64> {
        switch self {
        case .cr0: \.cr0
        case .cr2: \.cr2
        case .cr3: \.cr3
        case .cr4: \.cr4
        case .cr8: \.cr8
        case .efer: \.efer
        }
    }
}
