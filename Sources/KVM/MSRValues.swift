// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
internal import Glibc

/// Model-specific registers by their numbers, with a value for each.
///
/// Kept as the kernel takes them, so that setting them is one call and no allocation.
public struct MSRValues: Sendable, Hashable {
    /// A `kvm_msrs`: a word with the count, then for each register a word with its number and one with its value.
    private var words: [UInt64]

    /// No register.
    public init() { words = [0] }

    /// These registers, with zeros.
    public init(_ numbers: [UInt32]) { words = [UInt64(numbers.count)] + numbers.flatMap { [UInt64($0), 0] } }

    /// How many registers.
    public var count: Int { words.count / 2 }

    /// The registers' numbers, in the order in which they are set.
    public var numbers: [UInt32] {
        stride(from: 1, to: words.count, by: 2).map { UInt32(truncatingIfNeeded: words[$0]) }
    }

    /// The value of a register; nil for one that is not among them. Setting another register's value adds it, nil removes it.
    public subscript(number: UInt32) -> UInt64? {
        get { position(of: number).map { words[$0 + 1] } }
        set {
            switch (position(of: number), newValue) {
            case (let position?, let value?): words[position + 1] = value
            case (let position?, nil): words.removeSubrange(position...(position + 1))
            case (nil, let value?): words += [UInt64(number), value]
            case (nil, nil): return
            }
            words[0] = UInt64(count)
        }
    }

    private func position(of number: UInt32) -> Int? {
        stride(from: 1, to: words.count, by: 2).first { words[$0] == UInt64(number) }
    }

    /// Sets the registers: `KVM_SET_MSRS`.
    func set(on vcpu: Int32) throws(KVMError) {
        guard try settable(on: vcpu) == count else { throw .unexpectedReply(.setMSRs) }
    }

    /// Reads the registers: `KVM_GET_MSRS`.
    mutating func read(from vcpu: Int32) throws(KVMError) {
        guard try readable(from: vcpu) == count else { throw .unexpectedReply(.getMSRs) }
    }

    /// Sets registers up to the first one that the kernel refuses. Returns how many.
    func settable(on vcpu: Int32) throws(KVMError) -> Int {
        guard count > 0 else { return 0 }
        let result = unsafe words.withUnsafeBytes { raw -> Int32 in
            // SAFETY: the words are a whole kvm_msrs, of which the kernel only reads.
            guard let base = raw.baseAddress else { return 0 }
            return unsafe ckvm_vcpu_ioctl(vcpu, CKVM_SET_MSRS, UnsafeMutableRawPointer(mutating: base))
        }
        return Int(try KVMError.check(result, .setMSRs))
    }

    /// Reads registers up to the first one that the kernel refuses. Returns how many.
    private mutating func readable(from vcpu: Int32) throws(KVMError) -> Int {
        guard count > 0 else { return 0 }
        let result = unsafe words.withUnsafeMutableBytes { raw -> Int32 in
            // SAFETY: the words are a whole kvm_msrs, which the kernel fills in.
            guard let base = raw.baseAddress else { return 0 }
            return unsafe ckvm_vcpu_ioctl(vcpu, CKVM_GET_MSRS, base)
        }
        return Int(try KVMError.check(result, .getMSRs))
    }
}

extension MSRValues {
    /// The time-stamp counter: it runs, so nothing can be put back.
    static let timeStampCounter: UInt32 = 0x10
    /// More registers than any kernel lists.
    private static let listLimit = 1024

    /// Those among these registers that the vCPU has and that can be put back, with the values that it has now.
    static func restorable(_ candidates: [UInt32], on vcpu: Int32) throws(KVMError) -> MSRValues {
        var values = try reading(candidates, from: vcpu)
        while true {
            let count = try values.settable(on: vcpu)
            guard count < values.count else { return values }
            values[values.numbers[count]] = nil
        }
    }

    /// Those among these registers that the vCPU has, with the values that it has now.
    static func reading(_ candidates: [UInt32], from vcpu: Int32) throws(KVMError) -> MSRValues {
        var values = MSRValues(candidates)
        while true {
            let count = try values.readable(from: vcpu)
            guard count < values.count else { return values }
            values[values.numbers[count]] = nil
        }
    }

    /// All registers that a guest might write where no filter keeps it from them: those that the kernel lists, and those that it
    /// has and does not list. The time-stamp counter is left out.
    ///
    /// `KVM_GET_MSR_INDEX_LIST`.
    static func candidates(of hypervisor: Int32) throws(KVMError) -> [UInt32] {
        // A kvm_msr_list: the count, then the numbers.
        var list = [UInt32](repeating: 0, count: 1 + listLimit)
        list[0] = UInt32(listLimit)
        let result = unsafe list.withUnsafeMutableBytes { raw -> Int32 in
            // SAFETY: the buffer holds the header and as many numbers as the header announces.
            guard let base = raw.baseAddress else { return -EINVAL }
            return unsafe ckvm_ioctl(hypervisor, CKVM_GET_MSR_INDEX_LIST, base)
        }
        _ = try KVMError.check(result, .getMSRIndexList)
        let listed = list[1...].prefix(Int(list[0]))
        let numbers = Set(listed).union(unlisted).union(MSRFilter.writable)
        return numbers.subtracting([timeStampCounter]).sorted()
    }

    /// Memory types, the addresses and details of the machine-check banks, and AMD's OS-visible workarounds. Found by trying every
    /// number up to 0x1FFF, and those around 0xC0000080, 0xC0010000 and 0xC0011000.
    private static let unlisted: [UInt32] =
        Array(0x200...0x20F) + [0x250, 0x258, 0x259] + Array(0x268...0x26F) + [0x277, 0x2FF]
        + (0..<32).flatMap { [0x402 + 4 * $0, 0x403 + 4 * $0] } + [0xC001_0140, 0xC001_0141, 0xC000_0103]
}
