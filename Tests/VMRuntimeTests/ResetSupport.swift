// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CKVM
import Foundation
import GuestImage
import JobModel
import Testing

@testable import KVM
@testable import VMRuntime

/// A machine that runs one job after another, as a slot's does, and can be looked into.
final class ReusedMachine {
    static let memoryBytes: UInt64 = 4 << 20
    /// Many of these run beside each other; none of them must end by the clock.
    static let patient = Budget(wallTime: .seconds(200))

    let hypervisor: Hypervisor
    let machine: Machine
    private let profile: BackendProfile
    private let thread: VCPUThread

    /// - Parameters:
    ///   - missing: what the kernel is taken to lack.
    ///   - mode: that of its jobs, if none is of another; the machine takes any but those that ask for `user64` alone.
    init(
        isCounted: Bool = false, isDeterministic: Bool = false, without missing: Set<Capability> = [],
        of mode: GuestMode? = nil
    ) throws {
        hypervisor = try Hypervisor(without: missing)
        profile = try Hardware.backend.get().profile
        thread = try VCPUThread()
        let isForPrograms = mode == .user64
        let kind = MachineKind(
            memoryBytes: Self.memoryBytes, isDeterministic: isDeterministic, isCounted: isCounted,
            countsEmulation: isCounted, restore: profile.restore.policy(memoryBytes: Self.memoryBytes),
            translations: isForPrograms ? .unneeded : profile.translations,
            exchangesGS: !isForPrograms && profile.exchangesGS)
        machine = try Machine(kind, on: hypervisor)
    }

    /// What a job starts from.
    static func start(_ image: [UInt8], _ spec: JobSpec) throws -> StartingPoint {
        var spec = spec
        spec.memoryBytes = memoryBytes
        return StartingPoint(try GuestLayout(flat: image, spec: spec))
    }

    static func start(_ name: String) throws -> StartingPoint {
        let guest = try GuestProgram.named(name)
        return try start(guest.image, guest.spec())
    }

    func prepare(_ start: StartingPoint, omitting omitted: ResetStep? = nil) throws {
        try machine.prepare(start, omitting: omitted)
    }

    /// Runs a prepared job to its end.
    func finish(
        _ budget: Budget = ReusedMachine.patient, plan: MeterPlan = .none,
        control: JobControl = JobControl(hasInput: false)
    ) throws -> JobResult {
        control.grantOutput(1 << 30)
        let execution = Execution(
            machine, budget: budget, reportsPortWrites: false, plan: plan, control: control, thread: thread,
            backend: profile, emit: { _ in })
        switch execution.run() {
        case .ended(let result): return result
        case .paused: throw Unexpected.pause
        }
    }

    func run(_ start: StartingPoint, _ budget: Budget = ReusedMachine.patient, plan: MeterPlan = .none) throws
        -> JobResult
    {
        try prepare(start)
        return try finish(budget, plan: plan)
    }

    /// Enters a prepared guest once, and leaves what is pending pending.
    func enterOnce() throws -> VMExit {
        machine.current.vcpu.attach()
        defer { machine.current.vcpu.detach() }
        return try machine.current.vcpu.run()
    }

    /// All zeros.
    func wipeMemory() {
        let zeros = [UInt8](repeating: 0, count: Int(Self.memoryBytes))
        _ = machine.vm.memory.write(zeros, at: 0)
    }

    func memory(at address: UInt64 = 0, count: UInt64 = memoryBytes) -> [UInt8] {
        machine.vm.memory.read(at: address, count: Int(count)) ?? []
    }

    enum Unexpected: Error { case pause }
}

/// All that can be seen of a machine that is ready for a job: by its parts' names, their bytes.
struct Sight {
    private(set) var parts: [String: [UInt8]] = [:]

    /// Looks at a prepared machine, then lets it run the job to its first exit.
    init(of reused: ReusedMachine) throws {
        let vcpu = Held(reused.machine)
        // First what a look through the kernel would change.
        note("interrupt window", vcpu.interruptWindow)
        parts["access data"] = vcpu.accessData
        let state = try vcpu.capture()
        note("general", state.general)
        note("system", state.control)
        note("events", state.events)
        noteExtendedState(state.extended.bytes)
        note("XCR0", state.extendedControls)
        note("debug", state.debug)
        let all = try MSRValues.candidates(of: reused.hypervisor.descriptor.number)
        let values = try vcpu.read(all)
        for number in values.numbers { note("msr " + String(number, radix: 16), values[number] ?? 0) }
        parts["first exit"] = Array(String(describing: try reused.enterOnce()).utf8)
        try vcpu.settle()
        note("behind it", try vcpu.capture().general)
    }

    /// By 64 bytes, so that a difference says where. Left out is XSTATE_BV, which says what is not in its initial state: on a busy
    /// machine even a vCPU that has never run a guest gains the bit of SSE now and then, when the host's scheduler saves and
    /// loads it, its contents being those of the initial state all the same. The contents are compared.
    private mutating func noteExtendedState(_ bytes: [UInt8]) {
        var bytes = bytes
        bytes.replaceSubrange(512..<520, with: repeatElement(0, count: 8))
        for start in stride(from: 0, to: bytes.count, by: 64) {
            parts["extended state at \(start)"] = Array(bytes[start..<min(start + 64, bytes.count)])
        }
    }

    private mutating func note<T: BitwiseCopyable>(_ name: String, _ value: T) {
        parts[name] = withUnsafeBytes(of: value) { Array($0) }
    }

    /// The names of the parts that are not the same.
    func differences(from other: Sight) -> Set<String> {
        Set(parts.keys).union(other.parts.keys).filter { parts[$0] != other.parts[$0] }
    }

    /// The test macros take values apart, and a vCPU cannot be copied.
    private struct Held {
        let machine: Machine
        init(_ machine: Machine) { self.machine = machine }

        var interruptWindow: UInt8 { machine.current.vcpu.runData.pointee.request_interrupt_window }
        var accessData: [UInt8] {
            let page = 4096
            return [UInt8](UnsafeRawBufferPointer(start: machine.current.vcpu.runArea.base + page, count: page))
        }
        func settle() throws { _ = try machine.current.vcpu.abandonAccess() }
        func capture() throws -> VCPUState { try machine.current.vcpu.capture() }
        func read(_ numbers: [UInt32]) throws -> MSRValues {
            try MSRValues.reading(numbers, from: machine.current.vcpu.descriptor.number)
        }
    }
}
