// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
internal import Glibc

/// The features that KVM can give a guest here: `KVM_GET_SUPPORTED_CPUID`, asked once, since it takes 0.3 ms and more.
struct CPUIDTable: Sendable {
    /// More entries than any kernel has.
    static let maximumEntries = 256
    private static let headerBytes = MemoryLayout<kvm_cpuid2>.size
    private static let entryBytes = MemoryLayout<kvm_cpuid_entry2>.stride

    /// A whole `kvm_cpuid2` with its entries.
    private let bytes: [UInt8]

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

    /// ECX of a leaf's first sub-leaf, or EAX, EBX, EDX likewise.
    func register(_ register: WritableKeyPath<kvm_cpuid_entry2, UInt32>, leaf: UInt32) -> UInt32 {
        unsafe bytes.withUnsafeBytes { raw in
            // SAFETY: every index is below the count, which is checked against the buffer's size.
            let announced = Int(unsafe raw.loadUnaligned(as: UInt32.self))
            for index in 0..<min(announced, Self.maximumEntries) {
                let entry = unsafe raw.loadUnaligned(
                    fromByteOffset: Self.headerBytes + index * Self.entryBytes, as: kvm_cpuid_entry2.self)
                if entry.function == leaf, entry.index == 0 { return entry[keyPath: register] }
            }
            return 0
        }
    }

    /// XSAVE and so AVX state can be turned on (leaf 1 ECX bit 26).
    var hasXSAVE: Bool { register(\.ecx, leaf: 1) & 1 << 26 != 0 }
    /// Ring 3 may set the FS and GS bases (leaf 7 EBX bit 0).
    var hasFSGSBASE: Bool { register(\.ebx, leaf: 7) & 1 != 0 }
    /// The state components that XCR0 may name (leaf 13 EAX).
    var extendedStates: UInt64 { UInt64(register(\.eax, leaf: 13)) }
}
