// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM
internal import LinuxPersonality

/// A machine's vCPU, as the program has it that runs there: seen through the ways by which programs leave the guest.
///
/// A program leaves it by a system call, in the page that SYSCALL leads to; by an exception, in a stub at ring 0; or because
/// somebody interrupts it, wherever it is. In each of these the program's registers are found elsewhere, and put back in another
/// way: nothing where nothing has changed, the general registers where that is enough, and all where it is not. None of it takes a
/// call to a vCPU whose registers come and go through the run area.
final class ProgramSeat: GuestProcessor {
    private let machine: Machine
    private var place = Place.program
    private var changes: Changes = []
    private var held = Registers()
    private var bases: (fs: UInt64, gs: UInt64) = (0, 0)

    /// Where the vCPU is.
    private enum Place {
        /// At ring 3, between two of the program's instructions.
        case program
        /// Behind the OUT of a system call. At ring 0 if SYSCALL got it there; some software backends let it stay at ring 3, and a
        /// program may make the OUT itself.
        case call(privilege: UInt8)
        /// In an exception's stub.
        case stub
        /// On the way between two of these: nobody can tell where the program is.
        case between
    }

    private struct Changes: OptionSet {
        let rawValue: UInt8
        static let general = Changes(rawValue: 1)
        static let bases = Changes(rawValue: 2)
    }

    /// What an exit means for the program.
    enum Event {
        case call
        case fault(Fault)
        case interrupted
        /// Nothing that a program can bring about in a way of its own.
        case other
    }

    init(_ machine: Machine) { self.machine = machine }

    // MARK: GuestProcessor

    var registers: Registers {
        get { held }
        set {
            held = newValue
            changes.insert(.general)
        }
    }

    var fsBase: UInt64 {
        get { bases.fs }
        set {
            bases.fs = newValue
            changes.insert(.bases)
        }
    }

    var gsBase: UInt64 {
        get { bases.gs }
        set {
            bases.gs = newValue
            changes.insert(.bases)
        }
    }

    func extendedState() throws(KVMError) -> [UInt8] { try machine.current.vcpu.extendedState() }

    func setExtendedState(_ bytes: [UInt8]?) throws(KVMError) -> Bool {
        try machine.current.vcpu.setExtendedState(bytes ?? machine.current.vcpu.pristineExtendedState)
    }

    // MARK: For the run loop

    /// Whether the program can be given other registers now.
    var isAtProgram: Bool {
        if case .between = place { return false }
        return true
    }

    /// Whether the next instruction is at an address that a program can have. The processor refuses to be entered with some others.
    var isInReach: Bool { held.rip < ProgramArea.linear || ProgramArea.isCode(held.rip) }

    /// Finds out what an exit of the vCPU means, and where the program is.
    func take(_ exit: VMExit) throws(KVMError) -> Event {
        let point = try machine.current.vcpu.executionPoint()
        held = try machine.current.vcpu.registers()
        bases = try machine.current.vcpu.threadBases()
        changes = []
        switch exit {
        case .portOut(let access) where access.port == ProgramArea.callPort:
            // SYSCALL has left the program's place in RCX and its flags in R11.
            (held.rip, held.rflags) = (held.rcx, Self.programFlags(held.r11))
            place = .call(privilege: point.privilege)
            return .call
        case .portOut(let access) where access.port == ProgramArea.trapPort && point.privilege == 0:
            place = .stub
            let frame = ExceptionFrame(
                registers: held, system: try machine.current.vcpu.systemRegisters(), in: .program)
            let (fault, registers) = frame.decode(from: machine.vm.memory)
            held = registers
            return .fault(fault)
        case .interrupted:
            let isAtProgram = point.privilege == 3 && !ProgramArea.isCallPage(point.rip)
            place = isAtProgram ? .program : .between
            return .interrupted
        default:
            place = point.privilege == 3 ? .program : .between
            return .other
        }
    }

    /// Puts the registers back in which the code in the call page has been called, from where it has saved them. False where it has not
    /// saved any: a program can jump anywhere.
    func returnToCall() -> Bool {
        let words = machine.vm.memory.words(
            at: ProgramArea.physicalAddress(of: ProgramArea.savedRegisters), count: 4)
        guard words.count == 4, held.rip >= ProgramArea.fastEntry else { return false }
        (held.rcx, held.rsp, held.rsi, held.rdi) = (words[0], words[1], words[2], words[3])
        (held.rax, held.rip, held.rflags) = (0, held.rcx, Self.programFlags(held.r11))
        changes.insert(.general)
        return true
    }

    /// RFLAGS that a program may have: those of its own, and interrupts on.
    private static func programFlags(_ flags: UInt64) -> UInt64 { flags & 0x24_4DD5 | 0x202 }

    /// Puts what was changed where the next entry takes it from.
    func putBack() throws(KVMError) {
        defer { changes = [] }
        switch place {
        case .between: return
        case .program:
            if changes.contains(.bases) { return try putBackAll() }
            if changes.contains(.general) { try machine.current.vcpu.setRegisters(held) }
        case .stub: if !changes.isEmpty { try putBackAll() }
        case .call(let privilege):
            if changes.contains(.bases) { return try putBackAll() }
            if privilege != 0 { return try machine.current.vcpu.setRegisters(held) }
            guard held.rcx == held.rip, held.r11 == held.rflags else { return try putBackAll() }
            var registers = held
            registers.rip = ProgramArea.callReturn
            try machine.current.vcpu.setRegisters(registers)
        }
    }

    /// At ring 3 with everything, whatever the vCPU was doing.
    private func putBackAll() throws(KVMError) {
        try machine.current.vcpu.setSystemRegisters(try systemRegisters())
        try machine.current.vcpu.setRegisters(held)
    }

    /// The segments and control registers as the program has them.
    func systemRegisters() throws(KVMError) -> SystemRegisters {
        var system = try machine.current.vcpu.systemRegisters()
        let start = SystemArea.userSegments
        (system.cs, system.ss) = (start.code, start.data)
        (system.fs.base, system.gs.base) = bases
        return system
    }
}
