// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// What of a PC's board the kernel itself is: two 8259A interrupt controllers and an I/O APIC, the processor's local APIC, and an 8254
/// timer with the speaker's port 0x61; and the size of the ROM.
///
/// With it HLT no longer leaves the guest: it waits in the kernel, until an interrupt comes or ``VirtualCPU/isHalted(in:)``.
public struct PCHardware: Sendable, Hashable {
    /// Bytes of ROM, which ends at 4 GiB; whole pages, 0 for none.
    public let romBytes: UInt64

    /// A board with so much ROM.
    public init(romBytes: UInt64 = 0) { self.romBytes = romBytes }

    /// Where older processors of Intel's keep three pages for running real mode, and a fourth one below: out of the way of guest memory
    /// and of ROMs.
    private static let taskStateAddress: UInt = 0xFEFF_D000
    private static let identityMapAddress: UInt64 = 0xFEFF_C000

    /// Capabilities without which there is no such board.
    static let required: [Capability] = [
        .interruptControllers, .intervalTimer, .activityState, .msrFilter, .userSpaceMSR, .readOnlyMemory,
    ]

    /// Before the machine has a vCPU.
    ///
    /// `KVM_SET_TSS_ADDR`, `KVM_SET_IDENTITY_MAP_ADDR`, `KVM_CREATE_IRQCHIP`, `KVM_CREATE_PIT2`.
    func install(in machine: Int32, _ capabilities: [Capability: Int32]) throws(KVMError) {
        if capabilities[.setTSSAddress] != nil {
            let result = ckvm_ioctl_number(machine, CKVM_SET_TSS_ADDR, Self.taskStateAddress)
            _ = try KVMError.check(result, .setTSSAddress)
        }
        if capabilities[.setIdentityMapAddress] != nil {
            var address = Self.identityMapAddress
            // SAFETY: the kernel reads one 64-bit number.
            let result = unsafe ckvm_ioctl(machine, CKVM_SET_IDENTITY_MAP_ADDR, &address)
            _ = try KVMError.check(result, .setIdentityMapAddress)
        }
        _ = try KVMError.check(ckvm_ioctl_number(machine, CKVM_CREATE_IRQCHIP, 0), .createIRQChip)
        var timer = kvm_pit_config()
        timer.flags = UInt32(KVM_PIT_SPEAKER_DUMMY)
        // SAFETY: the kernel reads one kvm_pit_config.
        _ = try KVMError.check(unsafe ckvm_ioctl(machine, CKVM_CREATE_PIT2, &timer), .createPIT)
    }

    /// nil where there is none.
    func makeROM(in machine: Int32) throws(KVMError) -> ReadOnlyMemory? {
        guard romBytes > 0 else { return nil }
        let rom = try ReadOnlyMemory(bytes: romBytes)
        try rom.install(in: machine)
        return rom
    }
}

extension Hypervisor {
    /// What a machine must have for ``PCHardware`` with ``MSRFilter/board``, and this one lacks: the names of capabilities.
    public var missingForPC: [String] {
        PCHardware.required.filter { capabilities[$0] == nil }.map(\.name)
    }
}
