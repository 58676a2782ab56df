// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// Measures what bringing guest memory back costs here. Takes half a millisecond beside making a machine.
enum RestoreProbe {
    private static let pages: UInt64 = 32
    /// Each cost is the least of so many tries: whatever else the machine does only adds to it.
    private static let tries = 3
    private static let patience = Duration.seconds(2)

    /// `mov edi, 0x180000; mov ecx, 32; again: inc byte [edi]; add edi, 4096; dec ecx; jnz again; hlt`, or `out 0xF4, al` for HLT.
    private static func image(_ mode: GuestMode) -> [UInt8] {
        let loop: [UInt8] = [
            0xBF, 0, 0, 0x18, 0, 0xB9, UInt8(pages), 0, 0, 0,
            0xFE, 0x07, 0x81, 0xC7, 0, 0x10, 0, 0, 0xFF, 0xC9, 0x75, 0xF4,
        ]
        return loop + (mode == .user64 ? [0xE6, 0xF4] : [0xF4])
    }

    /// - Parameter modes: those that run here. Ring 3 comes first: what a software backend emulates never meets a protected page.
    static func run(
        _ hypervisor: borrowing Hypervisor, modes: Set<GuestMode>, _ thread: VCPUThread
    ) throws(KVMError) -> RestoreCosts {
        let hasStickyLog = hypervisor.capabilities[.manualDirtyLog] != nil
        var costs = RestoreCosts(hasStickyLog: hasStickyLog, pageCopy: 0, logReading: 0, pageProtection: 0)
        guard let mode = [GuestMode.user64, .long64, .protected32].first(where: modes.contains) else { return costs }
        let layout = Result<GuestLayout, Refusal> { () throws(Refusal) in
            try GuestLayout(flat: image(mode), spec: JobSpec(mode: mode, memoryBytes: 2 << 20))
        }
        guard case .success(let layout) = layout else { preconditionFailure("a probe's image was refused") }
        let start = StartingPoint(layout)
        var kind = MachineKind(memoryBytes: layout.memoryBytes)
        kind.restore = hasStickyLog ? .stickyLog(patience: .max) : .clearingLog
        let machine = try Machine(kind, on: hypervisor)
        try machine.prepare(start)
        machine.current.vcpu.attach()
        defer { machine.current.vcpu.detach() }
        try thread.setAlarm(at: MonotonicClock.now + patience.wholeNanoseconds)
        defer { try? thread.setAlarm(at: nil) }
        try measure(&costs, machine, start)
        return costs
    }

    private static func measure(
        _ costs: inout RestoreCosts, _ machine: Machine, _ start: StartingPoint
    ) throws(KVMError) {
        let restore = { () throws(KVMError) in try machine.vm.restore(to: start.memory) }
        let run = { () throws(KVMError) in
            try machine.current.vcpu.setRegisters(start.registers)
            _ = try machine.current.vcpu.run()
            _ = try machine.current.vcpu.settle()
        }
        try run()
        var least = (writable: UInt64.max, protected: UInt64.max, copying: UInt64.max, reading: UInt64.max)
        for _ in 0..<tries {
            least.writable = min(least.writable, try time(run))
            least.copying = min(least.copying, try time(restore))
            least.protected = min(
                least.protected,
                try time { () throws(KVMError) in
                    try machine.vm.protectWrittenPages()
                    try run()
                })
            try restore()
            try machine.vm.protectWrittenPages()
            least.reading = min(least.reading, try time(restore))
            try run()
        }
        costs = RestoreCosts(
            hasStickyLog: costs.hasStickyLog, pageCopy: (least.copying - min(least.reading, least.copying)) / pages,
            logReading: least.reading,
            pageProtection: (least.protected - min(least.writable, least.protected)) / pages)
    }

    private static func time(_ body: () throws(KVMError) -> Void) throws(KVMError) -> UInt64 {
        let start = MonotonicClock.now
        try body()
        return MonotonicClock.now - start
    }
}
