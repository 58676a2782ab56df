// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// One virtual machine with its vCPUs, one in most of them, for one job after another. Belongs to one thread at a time.
///
/// Between two jobs it forgets all of the first: ``prepare(_:omitting:)``. Where it cannot be sure of that, it says so:
/// ``mustRetire``.
final class Machine {
    let kind: MachineKind
    let vm: VirtualMachine
    /// The vCPUs by number.
    let seats: [VCPUSeat]
    /// The one that is meant where nobody names one.
    ///
    /// Its vCPU is had as `current.vcpu` and not by an accessor here: what a coroutine yields of a value of that size is in part not
    /// initialised (Swift 6.3).
    var current: VCPUSeat
    /// The mode that its job started in.
    private(set) var mode = GuestMode.real16
    private var isSpoilt = false
    /// What the guest wrote to the console without an exit, as of the last ``takeConsoleWrites()``.
    private(set) var consoleWrites = CoalescedWrites()

    /// Makes an empty machine. ``prepare(_:omitting:)`` comes before every job, the first one too.
    init(_ kind: MachineKind, on hypervisor: borrowing Hypervisor) throws(KVMError) {
        let vm = try hypervisor.makeVirtualMachine(
            memoryBytes: kind.memoryBytes, restoring: kind.restore, logsWrites: kind.logsWrites,
            inSmallPages: kind.countsPages, filter: kind.filter, board: kind.hardware,
            coalescedPorts: kind.coalescesConsole ? Board.consolePorts : [])
        var seats: [VCPUSeat] = []
        for number in 0..<kind.vcpus { seats.append(try VCPUSeat(number: number, of: kind, in: vm, on: hypervisor)) }
        (self.seats, current) = (seats, seats[0])
        self.vm = vm
        self.kind = kind
    }

    /// Brings the machine to where a job starts, whatever ran in it before and however that ended.
    ///
    /// Takes no memory of the heap, and three calls to the vCPU; one more where model-specific registers have to be put back, those
    /// that an unusual end asks for, and what ``TranslationReset`` says.
    ///
    /// - Parameter omitted: left out, by a test that wants to see what leaks then.
    func prepare(_ start: StartingPoint, omitting omitted: ResetStep? = nil) throws(KVMError) {
        do throws(KVMError) {
            mode = start.mode
            if omitted != .hiddenHalt, current.vcpu.wasStepped { try takeHiddenHalt(omitting: omitted) }
            try current.vcpu.load(state(at: start), omitting: omitted)
            if seats.count > 1, kind.hardware == nil { try prepareOthers(start) }
            // Behind the vCPU: what a guest left half done may write once more, and be mapped for that.
            try vm.restore(to: start.memory)
            guard vm.fillROM(start.rom) else { throw .unexpectedReply(.setUserMemoryRegion) }
            if omitted != .translations { try vm.forgetTranslations(of: current.vcpu) }
        } catch {
            retire()
            throw error
        }
        // Likewise, and a job that was stopped may have left bytes that nobody took.
        if kind.coalescesConsole { current.vcpu.discardCoalescedWrites() }
    }

    /// The vCPUs but the first start as that does, each with its own number and stack. Their machine is a new one. On the board of a PC
    /// they stay as they were made, until another one starts them.
    private func prepareOthers(_ start: StartingPoint) throws(KVMError) {
        defer { current = seats[0] }
        for seat in seats {
            current = seat
            var state = state(at: start)
            let number = UInt64(seat.number)
            (state.registers.rdi, state.registers.rsi) = (number, UInt64(seats.count))
            state.registers.rsp &-= number * GuestLayout.stackDistance(in: start.mode)
            if start.mode == .real16 { state.registers.rsp &= 0xFFFF }
            try seat.vcpu.load(state)
        }
    }

    /// Lets the vCPU run into a HLT. A software backend keeps one that stepping hid behind another instruction where no call
    /// reaches it, and the next run ends by that one or by this one.
    private func takeHiddenHalt(omitting omitted: ResetStep?) throws(KVMError) {
        var state = current.vcpu.pristine
        state.registers = Registers()
        state.registers.rflags = 2
        state.system = SystemArea.systemRegisters(for: .real16)
        try current.vcpu.load(state, omitting: omitted)
        guard vm.memory.write([0xF4], at: 0) else { throw .unexpectedReply(.run) }
        // An alarm that the last job has left behind may go off once.
        for _ in 0..<Self.haltAttempts {
            switch try current.vcpu.run() {
            case .halt: return current.vcpu.forgetStepping()
            case .interrupted: _ = current.vcpu.takeKick()
            default: throw .unexpectedReply(.run)
            }
        }
        throw .unexpectedReply(.run)
    }

    /// The most runs to one HLT.
    private static let haltAttempts = 16

    /// Whether no other job may be given to it.
    var mustRetire: Bool {
        // A triple fault that a kick came upon stays where the kernel cannot take it back.
        kind.hardware != nil || kind.vcpus > 1 || isSpoilt || current.vcpu.hasPendingAccess
            || (!vm.tellsTripleFaults && current.vcpu.wasInterrupted)
    }

    /// From here on ``mustRetire``.
    func retire() { isSpoilt = true }

    /// What the vCPU is when the job starts: as it was kept, or as it was made, with what the start sets.
    private func state(at start: StartingPoint) -> VCPUState {
        switch start.processor {
        case .kept(let state): state
        case .new(let registers, let system, let fixesCR4): newState(registers, system, fixesCR4: fixesCR4)
        }
    }

    private func newState(_ registers: Registers, _ start: SystemRegisters, fixesCR4: Bool) -> VCPUState {
        var state = current.vcpu.pristine
        var system = start
        // Where the processor honours it, RDTSC is a fault at ring 3. Ring 0 cannot be kept from it.
        if kind.isDeterministic, mode == .user64 { system.cr4 |= ControlRegister.timeStampDisable }
        if mode == .long64 || mode == .user64 || mode == .linux {
            if !fixesCR4 { system.cr4 |= current.vcpu.extendedStateControl }
            state.extendedStateComponents = current.vcpu.extendedStateComponents
        }
        (state.registers, state.system) = (registers, system)
        switch mode {
        case .user64: state.modelSpecific = userMSRs
        case .linux: state.modelSpecific = programMSRs
        case .real16, .protected32, .long64: state.modelSpecific = otherMSRs
        }
        return state
    }

    /// The model-specific registers of a `user64` job. Some software backends let SYSCALL through although EFER does not; it must
    /// end in a fault, not in low memory.
    private lazy var userMSRs = {
        var registers = otherMSRs
        (registers[MSR.lstar], registers[MSR.cstar]) = (SystemArea.start, SystemArea.start)
        return registers
    }()

    /// Those of a Linux program, whose SYSCALL leads to a page of its own.
    private lazy var programMSRs = {
        var registers = otherMSRs
        registers[MSR.star] = ProgramArea.star
        let entry = kind.callsStayAtRing3 ? ProgramArea.fastEntry : ProgramArea.callEntry
        (registers[MSR.lstar], registers[MSR.cstar]) = (entry, ProgramArea.compatibilityEntry)
        registers[MSR.maskedFlags] = ProgramArea.maskedFlags
        return registers
    }()

    /// Those of the other modes. A deterministic guest's time-stamp counter goes on from 0, without effect on a backend that shows
    /// guests the host's.
    private lazy var otherMSRs = {
        var registers = current.vcpu.pristine.modelSpecific
        if kind.isDeterministic { registers[MSR.timeStampCounter] = 0 }
        return registers
    }()

    /// What the guest's time-stamp counter is ahead of this processor's; nil where nobody knows.
    func timeStampOffset(on profile: BackendProfile) -> UInt64? {
        switch profile.timeStamps {
        case .unknown: nil
        case .host: 0
        case .own: ownTimeStampOffset
        }
    }

    /// It stays the same, since no guest can set the counter.
    private lazy var ownTimeStampOffset: UInt64? = {
        let before = TimeStampCounter.now
        guard let guest = try? current.vcpu.timeStampCounter() else { return nil }
        return guest &- (before &+ (TimeStampCounter.now &- before) / 2)
    }()

    /// Numbers of model-specific registers.
    enum MSR {
        static let timeStampCounter: UInt32 = 0x10
        static let star: UInt32 = 0xC000_0081
        static let lstar: UInt32 = 0xC000_0082
        static let cstar: UInt32 = 0xC000_0083
        static let maskedFlags: UInt32 = 0xC000_0084
    }

    /// Takes what the guest has written to the console without an exit. Returns whether there is anything.
    func takeConsoleWrites() throws(KVMError) -> Bool {
        guard kind.coalescesConsole, current.vcpu.hasCoalescedWrites else { return false }
        try current.vcpu.takeCoalescedWrites(&consoleWrites)
        return true
    }

    /// The frame of the exception in whose stub the vCPU of a `user64` program is.
    func exceptionFrame() throws(KVMError) -> ExceptionFrame {
        ExceptionFrame(registers: try current.vcpu.registers(), system: try current.vcpu.systemRegisters())
    }

    // MARK: Finding what the guest executes

    /// The guest physical address behind a linear one, or nil if no page is there.
    func physicalAddress(of linear: UInt64, at point: ExecutionPoint) throws(KVMError) -> UInt64? {
        guard point.cr0 & ControlRegister.paging != 0 else { return linear }
        // Four-level tables are walked here, since a call to the vCPU costs as much as a whole step on some backends.
        guard point.efer & ControlRegister.longModeActive != 0, point.cr4 & ControlRegister.fiveLevelPaging == 0 else {
            return try current.vcpu.translate(linear)
        }
        return PageTables.walk(linear, root: point.cr3, in: vm.memory)
    }

    /// The bytes of the next instruction, all ones where there is no memory.
    func instruction(at point: ExecutionPoint) throws(KVMError) -> InstructionBytes {
        let linear = point.linearAddress
        let inPage = linear & (GuestMemory.pageBytes - 1)
        guard let physical = try physicalAddress(of: linear, at: point) else { return .allOnes }
        if inPage <= GuestMemory.pageBytes - 16, let low = vm.memory.word(at: physical),
            let high = vm.memory.word(at: physical + 8)
        {
            return InstructionBytes(low: low, high: high)
        }
        return try slowInstruction(at: linear, physical: physical, point)
    }

    /// An instruction that may cross into another page, or into what is not memory.
    private func slowInstruction(
        at linear: UInt64, physical: UInt64, _ point: ExecutionPoint
    ) throws(KVMError) -> InstructionBytes {
        let inThisPage = GuestMemory.pageBytes - linear & (GuestMemory.pageBytes - 1)
        let nextPage = try physicalAddress(of: linear &+ inThisPage, at: point)
        var bytes = InstructionBytes.allOnes
        for index in 0..<UInt64(InstructionBytes.count) {
            let address = index < inThisPage ? physical &+ index : nextPage.map { $0 &+ (index - inThisPage) }
            bytes[Int(index)] = address.map { vm.memory.byte(at: $0) } ?? 0xFF
        }
        return bytes
    }
}

/// A walk of the processor's four-level page tables, as far as finding code needs it: presence and size, not rights.
enum PageTables {
    private static let present: UInt64 = 1
    private static let large: UInt64 = 0x80
    private static let address: UInt64 = 0x000F_FFFF_FFFF_F000

    static func walk(_ linear: UInt64, root: UInt64, in memory: borrowing GuestMemory) -> UInt64? {
        // An address whose upper bits are not all like bit 47 is none.
        guard Int64(bitPattern: linear << 16) >> 16 == Int64(bitPattern: linear) else { return nil }
        var table = root & address
        for shift in [UInt64(39), 30, 21, 12] {
            guard let entry = memory.word(at: table + (linear >> shift & 511) * 8), entry & present != 0 else {
                return nil
            }
            let isPage = shift == 12 || (shift <= 30 && entry & large != 0)
            if isPage {
                let offset = (UInt64(1) << shift) - 1
                return entry & address & ~offset | linear & offset
            }
            table = entry & address
        }
        return nil
    }
}
