// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
internal import Glibc

/// What CPUID tells a guest: a list of leaves and answers.
struct CPUIDTable: Sendable {
    /// More entries than any kernel has.
    static let maximumEntries = 256
    private static let headerBytes = MemoryLayout<kvm_cpuid2>.size
    private static let entryBytes = MemoryLayout<kvm_cpuid_entry2>.stride

    /// A whole `kvm_cpuid2` with its entries.
    private var bytes: [UInt8]

    /// A table of these leaves, without sub-leaves.
    init(_ leaves: [(leaf: UInt32, answer: CPUIDAnswer)]) {
        precondition(leaves.count <= Self.maximumEntries)
        var bytes = [UInt8](repeating: 0, count: Self.headerBytes + Self.maximumEntries * Self.entryBytes)
        unsafe bytes.withUnsafeMutableBytes { raw in
            // SAFETY: the buffer holds the header and more entries than there are leaves.
            unsafe raw.storeBytes(of: UInt32(leaves.count), as: UInt32.self)
            for (index, (leaf, answer)) in leaves.enumerated() {
                var entry = kvm_cpuid_entry2()
                (entry.function, entry.eax, entry.ebx) = (leaf, answer.eax, answer.ebx)
                (entry.ecx, entry.edx) = (answer.ecx, answer.edx)
                unsafe raw.storeBytes(
                    of: entry, toByteOffset: Self.headerBytes + index * Self.entryBytes, as: kvm_cpuid_entry2.self)
            }
        }
        self.bytes = bytes
    }

    /// The features that KVM can give a guest here: `KVM_GET_SUPPORTED_CPUID`, which takes 0.3 ms and more.
    init(supportedBy hypervisor: Int32) throws(KVMError) {
        var bytes = [UInt8](repeating: 0, count: Self.headerBytes + Self.maximumEntries * Self.entryBytes)
        let result = unsafe bytes.withUnsafeMutableBytes { raw -> Int32 in
            // SAFETY: the buffer holds the header and as many entries as the header announces.
            guard let base = raw.baseAddress else { return -EINVAL }
            unsafe raw.storeBytes(of: UInt32(Self.maximumEntries), as: UInt32.self)
            return unsafe ckvm_ioctl(hypervisor, CKVM_GET_SUPPORTED_CPUID, base)
        }
        _ = try KVMError.check(result, .getSupportedCPUID)
        self.bytes = bytes
        // A guest with guests of its own would hold state that no reset takes back: VMX, and AMD's SVM.
        hide(leaf: 1, ecx: 1 << 5)
        hide(leaf: 0x8000_0001, ecx: 1 << 2)
    }

    /// Takes features out of a leaf's first sub-leaf.
    private mutating func hide(leaf: UInt32, ecx features: UInt32) {
        change { entry in
            if entry.function == leaf { entry.ecx &= ~features }
        }
    }

    /// The same for a processor on the board of a PC, whose local APIC has its number, and which has no devices of KVM's: its clock would
    /// have the host write into guest memory. Several processors are the cores of one package.
    func forBoard(number: UInt32, of count: UInt32) -> CPUIDTable {
        var table = self
        table.change { entry in
            switch entry.function {
            case 0x4000_0000...0x4000_FFFF: (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0)
            case 1: entry.ebx = entry.ebx & 0x00FF_FFFF | number << 24
            case 0xB, 0x1F: entry.edx = number
            case 0x8000_001E: entry.eax = number
            default: break
            }
            if count > 1 { entry.describeCores(count) }
        }
        return table
    }

    private mutating func change(_ edit: (inout kvm_cpuid_entry2) -> Void) {
        unsafe bytes.withUnsafeMutableBytes { raw in
            // SAFETY: every index is below the count, which is checked against the buffer's size.
            let announced = Int(unsafe raw.loadUnaligned(as: UInt32.self))
            for index in 0..<min(announced, Self.maximumEntries) {
                let offset = Self.headerBytes + index * Self.entryBytes
                var entry = unsafe raw.loadUnaligned(fromByteOffset: offset, as: kvm_cpuid_entry2.self)
                edit(&entry)
                unsafe raw.storeBytes(of: entry, toByteOffset: offset, as: kvm_cpuid_entry2.self)
            }
        }
    }

    /// Gives a vCPU these features: `KVM_SET_CPUID2`.
    func apply(to vcpu: Int32) throws(KVMError) {
        var copy = bytes
        let result = unsafe copy.withUnsafeMutableBytes { raw -> Int32 in
            // SAFETY: as above; the kernel reads `nent` entries, and GET_SUPPORTED_CPUID set `nent` to those it wrote.
            guard let base = raw.baseAddress else { return -EINVAL }
            return unsafe ckvm_ioctl(vcpu, CKVM_SET_CPUID2, base)
        }
        _ = try KVMError.check(result, .setCPUID2)
    }

    /// What a leaf's first sub-leaf answers; zeros where it is not listed.
    func answer(leaf: UInt32) -> CPUIDAnswer {
        unsafe bytes.withUnsafeBytes { raw in
            // SAFETY: every index is below the count, which is checked against the buffer's size.
            let announced = Int(unsafe raw.loadUnaligned(as: UInt32.self))
            for index in 0..<min(announced, Self.maximumEntries) {
                let entry = unsafe raw.loadUnaligned(
                    fromByteOffset: Self.headerBytes + index * Self.entryBytes, as: kvm_cpuid_entry2.self)
                guard entry.function == leaf, entry.index == 0 else { continue }
                return CPUIDAnswer(eax: entry.eax, ebx: entry.ebx, ecx: entry.ecx, edx: entry.edx)
            }
            return .nothing
        }
    }

    /// XSAVE and so AVX state can be turned on (leaf 1 ECX bit 26).
    var hasXSAVE: Bool { answer(leaf: 1).ecx & 1 << 26 != 0 }
    /// Ring 3 may set the FS and GS bases (leaf 7 EBX bit 0).
    var hasFSGSBASE: Bool { answer(leaf: 7).ebx & 1 != 0 }
    /// The state components that XCR0 may name (leaf 13 EAX).
    var extendedStates: UInt64 { UInt64(answer(leaf: 13).eax) }
}

extension kvm_cpuid_entry2 {
    /// Says that there are so many cores in one package, with a thread each: in leaves 1, 4, 0xB, 0x1F and 0x80000008.
    fileprivate mutating func describeCores(_ count: UInt32) {
        switch function {
        case 1:
            ebx = ebx & 0xFF00_FFFF | count << 16
            edx |= 1 << 28
        case 4 where eax & 0x1F != 0: eax = eax & 0x03FF_FFFF | (count - 1) << 26
        case 0xB, 0x1F:
            switch index {
            // A thread's number in its core has no bits; a core's in the package as many as the highest number.
            case 0: (eax, ebx, ecx) = (0, 1, 1 << 8)
            case 1: (eax, ebx, ecx) = (UInt32(32 - (count - 1).leadingZeroBitCount), count, 2 << 8 | 1)
            default: (eax, ebx, ecx) = (0, 0, index)
            }
        case 0x8000_0008: ecx = ecx & ~0xFF | (count - 1)
        default: break
        }
    }
}
