// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// What a stepped run retired when a software backend emulated more than one instruction in it.
///
/// It does so in two cases: an instruction faults, which retires nothing, and the handler's first instruction follows; IRETQ
/// retires and its target follows. Where the last of them began tells whether it was a HLT: the byte before the next
/// instruction alone does not, since that may belong to an operand or to no instruction at all.
struct MergedRun {
    /// Where an instruction is.
    struct Place {
        var rip: UInt64
        var linearAddress: UInt64
    }

    private(set) var retired: UInt64 = 1
    private(set) var endsInHalt = false
    /// Whether more may have retired than is counted: a handler that began with IRETQ went on to its target in the same run.
    private(set) var isUncertain = false
    /// Whether the instruction that the run began with retired.
    private(set) var retiresFirst = true
    /// The others that retired, as far as it is known where they are.
    private(set) var others: [Place] = []

    /// One instruction by itself.
    init() {}

    /// The next instruction retired too.
    mutating func addInstruction(behind point: ExecutionPoint, by bytes: UInt64) {
        var next = point
        next.rip &+= bytes
        retired += 1
        others.append(Place(rip: next.rip, linearAddress: next.linearAddress))
    }

    /// - Parameter frame: where the first instruction, an IRETQ, popped its frame from; nil for any other.
    init(
        of emulated: UInt64, frame: UInt64?, endingAt after: ExecutionPoint, in machine: Machine
    ) throws(KVMError) {
        guard var frame else {
            retiresFirst = false
            try noteHandler(endingAt: after, in: machine)
            return
        }
        for left in stride(from: emulated - 1, to: 0, by: -1) {
            let target = try Self.word(at: frame, after, in: machine)
            let instruction = Instruction(try Self.bytes(at: target, after, in: machine), is64Bit: after.is64Bit)
            if instruction.isInterruptReturn {
                frame = try Self.word(at: frame &+ 24, after, in: machine)
                add(target)
            } else if left == 1 {
                let isUnfinished = instruction.isRepeatedString && target == after.linearAddress
                if !isUnfinished { add(target) }
                try noteHalt(at: target, endingAt: after, in: machine)
            } else {
                // The target faulted, and the handler's first instruction should be all that is left.
                retired += 1
                isUncertain = left != 2
                try noteHandler(endingAt: after, in: machine)
                return
            }
        }
    }

    /// An instruction of 64-bit code.
    private mutating func add(_ address: UInt64) {
        retired += 1
        others.append(Place(rip: address, linearAddress: address))
    }

    /// The first instruction of the last exception's handler ended the run; the caller has counted it.
    private mutating func noteHandler(endingAt after: ExecutionPoint, in machine: Machine) throws(KVMError) {
        guard let handler = try Self.handler(at: after, in: machine) else { return }
        others.append(handler)
        let first = Instruction(
            try Self.bytes(at: handler.linearAddress, after, in: machine), is64Bit: after.is64Bit)
        guard after.is64Bit, first.isInterruptReturn else {
            return try noteHalt(at: handler.linearAddress, endingAt: after, in: machine)
        }
        // Back again, and who knows how often; but that it ended in a HLT must not be missed.
        isUncertain = true
        guard let target = try Self.target(ofReturnEndingAt: after, in: machine) else { return }
        try noteHalt(at: target, endingAt: after, in: machine)
        if endsInHalt { add(target) }
    }

    private mutating func noteHalt(
        at address: UInt64, endingAt after: ExecutionPoint, in machine: Machine
    ) throws(KVMError) {
        let instruction = Instruction(try Self.bytes(at: address, after, in: machine), is64Bit: after.is64Bit)
        endsInHalt = instruction.isHalt && address &+ instruction.haltBytes == after.linearAddress
    }

    /// Where the last exception's handler has returned to with its first instruction: by the frame, which is still there behind a
    /// HLT. nil where it cannot be found.
    private static func target(
        ofReturnEndingAt after: ExecutionPoint, in machine: Machine
    ) throws(KVMError) -> UInt64? {
        let system = try machine.current.vcpu.systemRegisters()
        let stack = try machine.current.vcpu.registers().rsp
        let gate = try word(
            at: system.idt.base &+ UInt64(try machine.current.vcpu.lastException()) * 16, after, in: machine)
        // The interrupt stacks of the TSS begin at 0x24; number 0 is none.
        let number = gate >> 32 & 7
        let top = number == 0 ? stack : try word(at: system.tr.base &+ 0x1C &+ number * 8, after, in: machine)
        let frame = (top & ~15) &- 40
        guard try word(at: frame &+ 24, after, in: machine) == stack else { return nil }
        return try word(at: frame, after, in: machine)
    }

    /// The handler of the last exception.
    private static func handler(at point: ExecutionPoint, in machine: Machine) throws(KVMError) -> Place? {
        let table = try machine.current.vcpu.systemRegisters().idt.base
        let last = try machine.current.vcpu.lastException()
        // Above the exceptions' 32 there is only what a meter put there to see the next one.
        guard last < SystemArea.vectors else { return nil }
        let vector = UInt64(last)
        if point.cr0 & 1 == 0 {
            let entry = try word(at: table &+ vector * 4, point, in: machine)
            return Place(rip: entry & 0xFFFF, linearAddress: ((entry >> 16 & 0xFFFF) << 4) + (entry & 0xFFFF))
        }
        let isLong = point.efer & ControlRegister.longModeActive != 0
        let gate = table &+ vector * (isLong ? 16 : 8)
        let low = try word(at: gate, point, in: machine)
        let offset = low & 0xFFFF | (low >> 48) << 16
        guard isLong else { return Place(rip: offset, linearAddress: point.codeBase &+ offset) }
        let address = offset | (try word(at: gate &+ 8, point, in: machine)) << 32
        return Place(rip: address, linearAddress: address)
    }

    private static func bytes(
        at address: UInt64, _ point: ExecutionPoint, in machine: Machine
    ) throws(KVMError) -> InstructionBytes {
        var there = point
        there.rip = point.is64Bit ? address : address &- point.codeBase
        return try machine.instruction(at: there)
    }

    /// Eight bytes of guest memory, zero where there is none.
    private static func word(
        at address: UInt64, _ point: ExecutionPoint, in machine: Machine
    ) throws(KVMError) -> UInt64 {
        guard let physical = try machine.physicalAddress(of: address, at: point) else { return 0 }
        return machine.vm.memory.word(at: physical) ?? 0
    }
}
