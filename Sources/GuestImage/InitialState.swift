// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The segments, descriptor tables and control registers that a job starts with: its mode's own, and in their place what the
/// job sets.
///
/// What is refused here contradicts the mode, or is a state that no processor can be in: it would fail at the guest's first
/// entry, or put it where its steps and exceptions are lost. What only some processors can do, such as a bit of CR4, is left to
/// the one that the job meets.
enum InitialState {
    static func systemRegisters(of spec: JobSpec) throws(Refusal) -> SystemRegisters {
        var system = SystemArea.systemRegisters(for: spec.mode)
        let start = system
        for (name, segment) in spec.segments { system[keyPath: name.keyPath] = segment }
        for (name, table) in spec.tables { system[keyPath: name.keyPath] = table }
        for (name, value) in spec.controls { system[keyPath: name.keyPath] = value }
        guard system != start else { return start }
        if spec.mode == .user64 {
            try checkProgram(system, start)
        } else {
            try check(system, mode: spec.mode)
        }
        return system
    }

    /// Every rule but that of `user64`.
    static func check(_ system: SystemRegisters, mode: GuestMode) throws(Refusal) {
        try ControlRules(system, mode: mode).check()
        for name in SegmentName.allCases { try SegmentRules(name, of: system, mode: mode).check() }
        for name in TableName.allCases {
            let base = system[keyPath: name.keyPath].base
            let isReachable = system.isLongMode ? system.isCanonical(base) : base >> 32 == 0
            let text = "\(name.name) cannot begin at \(base.hexadecimal), which no address can be"
            try require(isReachable, text, value: base)
        }
    }

    /// The bases of FS and GS, which point to a thread's own storage, are a program's; everything else keeps it at ring 3 and its
    /// exceptions seen.
    private static func checkProgram(_ system: SystemRegisters, _ start: SystemRegisters) throws(Refusal) {
        var expected = start
        (expected.fs.base, expected.gs.base) = (system.fs.base, system.gs.base)
        try require(
            system == expected,
            "a user64 job sets fs.base and gs.base and nothing else of the system registers: its tables and control registers "
                + "belong to the mode; use long64 to set them")
        for (name, base) in [("fs", system.fs.base), ("gs", system.gs.base)] {
            try require(
                system.isCanonical(base), "\(name).base \(base.hexadecimal) is not a canonical address", value: base)
        }
    }

    static func require(_ condition: Bool, _ message: @autoclosure () -> String, value: UInt64? = nil) throws(Refusal) {
        guard !condition else { return }
        throw Refusal(.invalidField, message(), value: value)
    }
}

extension SystemRegisters {
    fileprivate var isLongMode: Bool { efer & ControlRegister.longModeActive != 0 }

    /// Whether all bits above the paging levels' reach, 48 or 57 bits, are copies of the topmost one below.
    fileprivate func isCanonical(_ address: UInt64) -> Bool {
        let unused: Int64 = cr4 & ControlRegister.fiveLevelPaging == 0 ? 16 : 7
        let signed = Int64(bitPattern: address)
        return (signed << unused) >> unused == signed
    }
}

/// What the manuals ask of CR0, CR3, CR4, CR8 and EFER together.
private struct ControlRules {
    let system: SystemRegisters
    let mode: GuestMode

    /// PE MP EM TS ET NE WP AM NW CD PG.
    private static let cr0Bits: UInt64 = 0xE005_003F
    /// All up to PKE that do not start another kind of virtualisation (VMXE, SMXE) or need more state than a job sets.
    private static let cr4Bits: UInt64 = 0x77_1FFF
    /// SCE LME LMA NXE.
    private static let eferBits: UInt64 = 0xD01
    /// The priority classes of CR8.
    private static let cr8Limit: UInt64 = 15

    init(_ system: SystemRegisters, mode: GuestMode) { (self.system, self.mode) = (system, mode) }

    func check() throws(Refusal) {
        try checkBits("cr0", system.cr0, Self.cr0Bits)
        try checkBits("cr4", system.cr4, Self.cr4Bits)
        try checkBits("efer", system.efer, Self.eferBits)
        try checkBits("cr8", system.cr8, Self.cr8Limit)
        let cr3Bits: UInt64 = system.isLongMode ? (1 << 52) - 1 : (1 << 32) - 1
        try checkBits("cr3", system.cr3, cr3Bits)
        try checkMode()
        try InitialState.require(
            !has(\.cr0, ControlRegister.notWriteThrough) || has(\.cr0, ControlRegister.cacheDisable),
            "cr0.NW without cr0.CD is no state of a processor", value: system.cr0)
        try InitialState.require(
            !has(\.cr4, ControlRegister.processContexts) || system.isLongMode,
            "cr4.PCIDE is for long mode only", value: system.cr4)
        let isActive = has(\.efer, ControlRegister.longModeEnable) && has(\.cr0, ControlRegister.paging)
        try InitialState.require(
            system.isLongMode == isActive, "efer.LMA must be 1 exactly if efer.LME and cr0.PG both are",
            value: system.efer)
    }

    private func has(_ register: KeyPath<SystemRegisters, UInt64>, _ bit: UInt64) -> Bool {
        system[keyPath: register] & bit != 0
    }

    private func checkBits(_ name: String, _ value: UInt64, _ allowed: UInt64) throws(Refusal) {
        guard value & ~allowed != 0 else { return }
        throw Refusal(
            .invalidField,
            "\(name) \(value.hexadecimal) has bits outside \(allowed.hexadecimal), which a job may not set",
            limit: allowed, value: value)
    }

    private func checkMode() throws(Refusal) {
        let protected = has(\.cr0, ControlRegister.protection)
        let paged = has(\.cr0, ControlRegister.paging)
        switch mode {
        case .real16:
            try InitialState.require(
                !protected && !paged, "real16 starts in real mode: cr0.PE and cr0.PG must be 0", value: system.cr0)
        case .protected32:
            try InitialState.require(protected, "protected32 starts with cr0.PE: it must be 1", value: system.cr0)
            try InitialState.require(
                !(paged && has(\.efer, ControlRegister.longModeEnable)),
                "cr0.PG with efer.LME is long mode: use long64", value: system.efer)
        case .long64, .user64, .linux:
            let enabled = has(\.cr4, ControlRegister.physicalAddressExtension) && system.isLongMode
            try InitialState.require(
                protected && paged && enabled,
                "\(mode.name) starts in long mode: cr0.PE, cr0.PG, cr4.PAE, efer.LME and efer.LMA must be 1")
        }
    }
}

/// What the manuals ask of one segment register.
private struct SegmentRules {
    let name: SegmentName
    let segment: Segment
    let system: SystemRegisters
    let mode: GuestMode

    init(_ name: SegmentName, of system: SystemRegisters, mode: GuestMode) {
        (self.name, segment) = (name, system[keyPath: name.keyPath])
        (self.system, self.mode) = (system, mode)
    }

    func check() throws(Refusal) {
        let attributes = segment.attributes
        if attributes.isUnusable {
            let canBeUnusable = name != .cs && name != .tr && (name != .ss || system.isLongMode)
            return try require(canBeUnusable, "cannot be unusable in \(mode.name)")
        }
        try require(attributes.present, "must be present (attribute bit 7)")
        try checkKind(attributes)
        try checkLimit(attributes)
        try require(isReachable(segment.base), "cannot begin at \(segment.base.hexadecimal) in \(mode.name)")
    }

    private func checkKind(_ attributes: SegmentAttributes) throws(Refusal) {
        let type = attributes.type
        switch name {
        case .cs:
            try require(attributes.s && type & 9 == 9, "must be an accessed code segment: S, and type 9, 11, 13 or 15")
            try require(system.isLongMode || !attributes.l, "cannot be a 64-bit segment outside long mode")
            try require(!(attributes.l && attributes.db), "cannot have both L and D/B")
            try require(attributes.dpl == 0, "must have DPL 0: \(mode.name) starts at ring 0")
        case .ss:
            try require(
                attributes.s && type & 11 == 3, "must be an accessed, writable data segment: S, and type 3 or 7")
            try require(attributes.dpl == 0, "must have DPL 0: \(mode.name) starts at ring 0")
        case .ds, .es, .fs, .gs:
            let isReadable = type & 8 == 0 || type & 2 != 0
            try require(
                attributes.s && type & 1 == 1 && isReadable,
                "must be an accessed data or readable code segment: S, and type 1, 3, 5, 7, 11 or 15")
        case .tr:
            let isBusy = type == 11 || (type == 3 && !system.isLongMode)
            try require(!attributes.s && isBusy, "must be a busy TSS: not S, and type 11")
        case .ldt: try require(!attributes.s && type == 2, "must be an LDT: not S, and type 2")
        }
    }

    private func checkLimit(_ attributes: SegmentAttributes) throws(Refusal) {
        let limit = segment.limit
        if attributes.g {
            try require(limit & 0xFFF == 0xFFF, "with G must have a limit whose low 12 bits are ones")
        } else {
            try require(limit >> 20 == 0, "without G must have a limit below 0x100000")
        }
    }

    private func isReachable(_ base: UInt64) -> Bool {
        guard system.isLongMode else { return base >> 32 == 0 }
        return switch name {
        case .fs, .gs, .tr, .ldt: system.isCanonical(base)
        case .cs, .ds, .es, .ss: base >> 32 == 0
        }
    }

    private func require(_ condition: Bool, _ message: @autoclosure () -> String) throws(Refusal) {
        try InitialState.require(
            condition, "\(name.name) \(message())", value: UInt64(segment.attributes.rawValue))
    }
}
