// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CFloor
import Glibc
import GuestImage
import JobModel

/// /dev/kvm by bare system calls.
final class FloorKVM {
    fileprivate let kvm: floor_kvm

    init() throws {
        var kvm = floor_kvm()
        _ = try check(floor_open(&kvm), "floor_open")
        self.kvm = kvm
    }

    deinit {
        var kvm = kvm
        floor_close(&kvm)
    }
}

/// A machine by bare system calls, with the same memory and first state as the project's own.
final class FloorMachine {
    private var machine = floor_machine()

    /// A job's layout in the kernel's terms, made once: what a floor does for each job begins behind it.
    struct Start {
        let layout: GuestLayout
        fileprivate let system: kvm_sregs
        fileprivate let registers: kvm_regs

        /// - Parameter counter: the first value of RCX.
        init(
            _ image: [UInt8], _ mode: GuestMode, memoryBytes: UInt64 = JobSpec.defaultMemoryBytes,
            trapFlag: Bool = false, counter: UInt64 = 0
        ) throws {
            layout = try GuestLayout(flat: image, spec: JobSpec(mode: mode, memoryBytes: memoryBytes))
            system = kvm_sregs(layout.system)
            var registers = kvm_regs()
            (registers.rip, registers.rsp) = (layout.registers.rip, layout.registers.rsp)
            registers.rflags = layout.registers.rflags | (trapFlag ? 1 << 8 : 0)
            registers.rcx = counter
            self.registers = registers
        }
    }

    init(_ start: Start, on kvm: FloorKVM) throws {
        var kvm = kvm.kvm
        _ = try check(floor_make(&kvm, start.layout.memoryBytes, &machine), "floor_make")
        for piece in start.layout.pieces {
            floor_write(&machine, piece.address, piece.bytes, UInt64(piece.bytes.count))
        }
        var (system, registers) = (start.system, start.registers)
        _ = try check(floor_start(&machine, &system, &registers), "floor_start")
    }

    deinit { floor_destroy(&machine) }

    /// Runs to the end. Returns the console's bytes, up to 64.
    func run() throws -> [UInt8] {
        var output: [UInt8] = []
        var writes: Int64 = 0
        output = [UInt8](unsafeUninitializedCapacity: 64) { buffer, count in
            guard let base = buffer.baseAddress else { return }
            base.initialize(repeating: 0, count: buffer.count)
            writes = floor_run(&machine, base, UInt64(buffer.count))
            count = min(Int(max(writes, 0)), buffer.count)
        }
        _ = try check(writes, "floor_run")
        return output
    }

    /// What a floor does beside entering the guest: each is a part of what the project's step meters do.
    struct Extras: OptionSet {
        let rawValue: Int
        static let generalRegisters = Extras(rawValue: 1)
        static let systemRegisters = Extras(rawValue: 2)
        static let events = Extras(rawValue: 4)
        static let statistics = Extras(rawValue: 8)
        static let settling = Extras(rawValue: 16)
        static let registers: Extras = [.generalRegisters, .systemRegisters, .events]
    }

    /// Single-steps this often.
    func step(_ count: Int, _ extras: Extras = []) throws {
        synchronise(extras)
        var statistics: Int32 = -1
        if extras.contains(.statistics) {
            statistics = try check(floor_statistics(&machine), "floor_statistics")
        }
        defer { if statistics >= 0 { close(statistics) } }
        _ = try check(floor_step(&machine, UInt64(count), statistics), "floor_step")
    }

    /// Lets the guest's own trap stub stop it this often.
    func trap(_ count: Int, _ extras: Extras = []) throws {
        synchronise(extras)
        let settles: Int32 = extras.contains(.settling) ? 1 : 0
        _ = try check(floor_trap(&machine, UInt64(count), SystemArea.trapPort, settles), "floor_trap")
    }

    /// Runs a guest from its start this often, and zeroes the pages that it writes, and no others, before each run.
    func cycle(_ start: Start, first: UInt64, pages: Int, times count: Int) throws {
        synchronise(.registers)
        var registers = start.registers
        _ = try check(floor_cycle(&machine, &registers, first, UInt64(pages) * 4096, UInt64(count)), "floor_cycle")
    }

    private func synchronise(_ extras: Extras) {
        let wanted = [
            (Extras.generalRegisters, KVM_SYNC_X86_REGS), (.systemRegisters, KVM_SYNC_X86_SREGS),
            (.events, KVM_SYNC_X86_EVENTS),
        ]
        let mask = wanted.reduce(0) { extras.contains($1.0) ? $0 | UInt64($1.1) : $0 }
        floor_synchronise(&machine, mask)
    }
}

extension kvm_sregs {
    init(_ system: SystemRegisters) {
        self.init()
        (cs, ds, es, fs) = (.init(system.cs), .init(system.ds), .init(system.es), .init(system.fs))
        (gs, ss, tr, ldt) = (.init(system.gs), .init(system.ss), .init(system.tr), .init(system.ldt))
        (gdt.base, gdt.limit) = (system.gdt.base, system.gdt.limit)
        (idt.base, idt.limit) = (system.idt.base, system.idt.limit)
        (cr0, cr3, cr4, efer) = (system.cr0, system.cr3, system.cr4, system.efer)
    }
}

extension kvm_segment {
    init(_ segment: Segment) {
        self.init()
        let attributes = segment.attributes
        (base, limit, selector) = (segment.base, segment.limit, segment.selector)
        (type, s, dpl) = (attributes.type, attributes.s ? 1 : 0, attributes.dpl)
        (present, avl, l) = (attributes.present ? 1 : 0, attributes.avl ? 1 : 0, attributes.l ? 1 : 0)
        (db, g, unusable) = (attributes.db ? 1 : 0, attributes.g ? 1 : 0, attributes.isUnusable ? 1 : 0)
    }
}
