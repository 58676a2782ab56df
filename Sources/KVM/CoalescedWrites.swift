// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// Bytes that a guest wrote to coalesced ports without leaving `KVM_RUN`, in the order in which it wrote them.
///
/// Takes the memory for the most that there can be when it is made, and no more from then on.
public struct CoalescedWrites: Sendable {
    /// The most that wait: one less than the entries of the kernel's ring, which is a page.
    public static let limit = Int(CKVM_RING_ENTRIES) - 1

    private var allPorts = [UInt16](repeating: 0, count: Int(CKVM_RING_ENTRIES))
    private var allValues = [UInt8](repeating: 0, count: Int(CKVM_RING_ENTRIES))
    private var count = 0

    /// None.
    public init() {}

    /// The ports, oldest write first.
    public var ports: ArraySlice<UInt16> { allPorts[..<count] }
    /// What was written to each of ``ports``.
    public var values: ArraySlice<UInt8> { allValues[..<count] }

    /// Takes everything out of a ring.
    ///
    /// SAFETY: the caller's page is a `kvm_coalesced_mmio_ring`, and the kernel alone adds to it.
    mutating func take(from page: UnsafeMutableRawPointer) throws(KVMError) {
        count = 0
        let ring = unsafe page.assumingMemoryBound(to: kvm_coalesced_mmio_ring.self)
        let result = unsafe allPorts.withUnsafeMutableBufferPointer { ports in
            unsafe allValues.withUnsafeMutableBufferPointer { values -> Int32 in
                guard let ports = ports.baseAddress, let values = values.baseAddress else { return 0 }
                // SAFETY: both arrays have as many elements as the ring has entries.
                return unsafe ckvm_take_ring(ring, ports, values)
            }
        }
        guard result >= 0 else { throw .unexpectedReply(.coalescedRing) }
        count = Int(result)
    }
}

extension VirtualCPU {
    // SAFETY: the hypervisor checked that this page is in the run area, which is mapped for as long as this value lives.
    private var ring: UnsafeMutablePointer<kvm_coalesced_mmio_ring>? {
        guard let ringPage = traits.ringPage else { return nil }
        let page = unsafe runArea.base + ringPage * Int(GuestMemory.pageBytes)
        return unsafe page.assumingMemoryBound(to: kvm_coalesced_mmio_ring.self)
    }

    /// Whether the guest has written to coalesced ports since they were last taken.
    public var hasCoalescedWrites: Bool {
        // SAFETY: see `ring`.
        guard let ring = unsafe ring else { return false }
        return unsafe ckvm_ring_is_empty(ring) == 0
    }

    /// Takes what the guest has written to coalesced ports; all of it came before the present exit.
    ///
    /// - Throws: ``KVMError/unexpectedReply(_:)`` when the ring holds what no guest can have written: the host is not well.
    public borrowing func takeCoalescedWrites(_ writes: inout CoalescedWrites) throws(KVMError) {
        // SAFETY: see `ring`.
        guard let ring = unsafe ring else { return }
        try unsafe writes.take(from: UnsafeMutableRawPointer(ring))
    }

    /// Gives up what the guest has written to coalesced ports.
    public borrowing func discardCoalescedWrites() {
        // SAFETY: see `ring`.
        guard let ring = unsafe ring else { return }
        unsafe ckvm_empty_ring(ring)
    }
}
