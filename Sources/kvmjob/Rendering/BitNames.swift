// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The names of a register's bits, for people: `[ZF PF]`.
struct BitNames: Sendable {
    private let names: [(bit: Int, name: String)]

    private init(_ names: [(Int, String)]) { self.names = names.map { (bit: $0.0, name: $0.1) } }

    /// RFLAGS without its always-one bit; IOPL, two bits wide, as a number when it is not 0.
    static func describeFlags(_ rflags: UInt64) -> String {
        let iopl = rflags >> 12 & 3
        return flags.describe(rflags, extra: iopl == 0 ? [] : ["IOPL=\(iopl)"])
    }

    static let cr0 = BitNames([
        (31, "PG"), (30, "CD"), (29, "NW"), (18, "AM"), (16, "WP"), (5, "NE"), (4, "ET"), (3, "TS"), (2, "EM"),
        (1, "MP"), (0, "PE"),
    ])
    static let cr4 = BitNames([
        (22, "PKE"), (21, "SMAP"), (20, "SMEP"), (18, "OSXSAVE"), (17, "PCIDE"), (16, "FSGSBASE"), (14, "SMXE"),
        (13, "VMXE"), (12, "LA57"), (11, "UMIP"), (10, "OSXMMEXCPT"), (9, "OSFXSR"), (8, "PCE"), (7, "PGE"),
        (6, "MCE"), (5, "PAE"), (4, "PSE"), (3, "DE"), (2, "TSD"), (1, "PVI"), (0, "VME"),
    ])
    static let efer = BitNames([
        (14, "FFXSR"), (13, "LMSLE"), (12, "SVME"), (11, "NXE"), (10, "LMA"), (8, "LME"), (0, "SCE"),
    ])

    /// EFER's LMA.
    static func isLongModeActive(_ efer: UInt64) -> Bool { efer >> 10 & 1 == 1 }

    private static let flags = BitNames([
        (21, "ID"), (20, "VIP"), (19, "VIF"), (18, "AC"), (17, "VM"), (16, "RF"), (14, "NT"), (11, "OF"), (10, "DF"),
        (9, "IF"), (8, "TF"), (7, "SF"), (6, "ZF"), (4, "AF"), (2, "PF"), (0, "CF"),
    ])

    /// The names of the set bits in brackets, the highest first.
    func describe(_ value: UInt64, extra: [String] = []) -> String {
        let set = names.filter { value >> UInt64($0.bit) & 1 == 1 }.map(\.name)
        return "[\((set + extra).joined(separator: " "))]"
    }
}
