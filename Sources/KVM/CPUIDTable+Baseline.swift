// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// What CPUID tells a guest.
public enum GuestFeatures: Sendable, Hashable {
    /// All that KVM can give a guest on this machine: differs from one machine to the next.
    case supported
    /// What every x86-64 processor has, by one fixed table.
    case baseline
    /// ``supported`` without what is KVM's own, for the board of a PC.
    case board
}

/// What CPUID answers for one leaf.
public struct CPUIDAnswer: Sendable, Hashable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public var eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32

    /// An answer with its parts.
    public init(eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32) {
        (self.eax, self.ebx, self.ecx, self.edx) = (eax, ebx, ecx, edx)
    }

    /// What leaves that are not in a table answer.
    public static let nothing = CPUIDAnswer(eax: 0, ebx: 0, ecx: 0, edx: 0)
}

/// The table of ``GuestFeatures/baseline``: the first x86-64 processor's features, and nothing that later ones added.
///
/// | leaf | answer |
/// |---|---|
/// | 0 | highest leaf 1; `AuthenticAMD`: of that vendor, leaves beyond the highest answer zeros and not the highest one's content |
/// | 1 | family 15, model 5, stepping 8; APIC id 0; cache lines of 64 bytes; FPU, DE, PSE, TSC, MSR, PAE, CX8, APIC, PGE, CMOV, PAT, PSE36, CLFSH, MMX, FXSR, SSE, SSE2 |
/// | 0x80000000 | highest leaf 0x80000008; the vendor again |
/// | 0x80000001 | the signature again; SYSCALL, NX, LM |
/// | 0x80000002-4 | the brand: `kvmjob deterministic x86-64` |
/// | 0x80000008 | 40 physical and 48 linear address bits |
///
/// Every other leaf is zeros: no XSAVE and so no AVX, no RDRAND, RDSEED, RDTSCP or RDPID, no x2APIC, no topology, and no
/// hypervisor leaves, which would lead to KVM's clock. TSC is there since no machine can take RDTSC from ring 0; APIC since KVM sets
/// it by the APIC base.
extension CPUIDTable {
    /// One feature bit that a machine must have for the table to be true.
    private struct Feature {
        var name: String
        var bit: UInt32
    }

    private static func features(_ list: KeyValuePairs<String, UInt32>) -> [Feature] {
        list.map { Feature(name: $0.key, bit: $0.value) }
    }

    /// Leaf 1, EDX.
    private static let standard = features([
        "FPU": 0, "DE": 2, "PSE": 3, "TSC": 4, "MSR": 5, "PAE": 6, "CX8": 8, "PGE": 13, "CMOV": 15, "PAT": 16,
        "PSE36": 17, "CLFSH": 19, "MMX": 23, "FXSR": 24, "SSE": 25, "SSE2": 26,
    ])
    /// Leaf 0x80000001, EDX.
    private static let extended = features(["SYSCALL": 11, "NX": 20, "LM": 29])
    private static let apic: UInt32 = 1 << 9

    private static let signature: UInt32 = 0xF58
    private static let cacheLine: UInt32 = 8 << 8
    private static let addressBits: UInt32 = 48 << 8 | 40
    private static let brand = "kvmjob deterministic x86-64"

    private static func mask(_ features: [Feature]) -> UInt32 { features.reduce(0) { $0 | 1 << $1.bit } }

    /// The names of the table's features that this table, of what KVM supports, lacks.
    var missingBaselineFeatures: [String] {
        let found = (answer(leaf: 1).edx, answer(leaf: 0x8000_0001).edx)
        return Self.standard.filter { found.0 >> $0.bit & 1 == 0 }.map(\.name)
            + Self.extended.filter { found.1 >> $0.bit & 1 == 0 }.map(\.name)
    }

    static let baseline: CPUIDTable = {
        // Twelve letters in EBX, EDX, ECX.
        let vendor = words("AuthenticAMD", count: 3)
        let name = words(brand, count: 12)
        var table: [(leaf: UInt32, answer: CPUIDAnswer)] = [
            (0, CPUIDAnswer(eax: 1, ebx: vendor[0], ecx: vendor[2], edx: vendor[1])),
            (1, CPUIDAnswer(eax: signature, ebx: cacheLine, ecx: 0, edx: mask(standard) | apic)),
            (0x8000_0000, CPUIDAnswer(eax: 0x8000_0008, ebx: vendor[0], ecx: vendor[2], edx: vendor[1])),
            (0x8000_0001, CPUIDAnswer(eax: signature, ebx: 0, ecx: 0, edx: mask(extended))),
        ]
        for (index, leaf) in (UInt32(0x8000_0002)...0x8000_0004).enumerated() {
            let part = Array(name[(index * 4)..<(index * 4 + 4)])
            table.append((leaf, CPUIDAnswer(eax: part[0], ebx: part[1], ecx: part[2], edx: part[3])))
        }
        table.append((0x8000_0008, CPUIDAnswer(eax: addressBits, ebx: 0, ecx: 0, edx: 0)))
        return CPUIDTable(table)
    }()

    /// A text as little-endian words, with zeros behind it.
    private static func words(_ text: String, count: Int) -> [UInt32] {
        var words = [UInt32](repeating: 0, count: count)
        for (index, byte) in text.utf8.enumerated() { words[index / 4] |= UInt32(byte) << (UInt32(index % 4) * 8) }
        return words
    }
}
