// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// An instruction that is about to run, as the trace tells it.
struct TracedInstruction {
    var rip: UInt64
    var linearAddress: UInt64
    var bits: UInt8
    var code: [UInt8]
}

/// Tells what a guest does, step by step, on ``OutputChannel/trace``.
///
/// Each instruction that retired is told, in order, with the registers that have changed since the one before. Where a backend
/// runs two together, each is told, and the changes of both are told with the last: MOV SS on hardware and in `user64`, IRETQ on a
/// software backend. What an exception's delivery changed is told with its handler's first instruction; the instruction that
/// raised it did not retire and is not told. Not told is what a meter cannot see: handlers on a backend that does not step through
/// them, and whatever runs between two looks of a guest that returns from exceptions for ever; then the meter is no exact one.
///
/// The trace waits for credit as other output does, and the guest meanwhile with it. It is not the guest's output and does not
/// count as such.
struct Tracer {
    private var known: Registers

    init(startingWith registers: Registers) { known = registers }

    mutating func step(_ instruction: TracedInstruction, to registers: Registers) -> TraceRecord {
        var changes: [TraceStep.RegisterChange] = []
        for name in RegisterName.allCases where name != .rip && registers[name] != known[name] {
            changes.append(.init(name: name, value: registers[name]))
        }
        known = registers
        return .step(
            TraceStep(
                rip: instruction.rip, linearAddress: instruction.linearAddress, bits: instruction.bits,
                code: instruction.code, changes: changes))
    }

    /// An instruction that retired together with the next one, which tells the changes of both.
    func merged(_ instruction: TracedInstruction) -> TraceRecord {
        .step(
            TraceStep(
                rip: instruction.rip, linearAddress: instruction.linearAddress, bits: instruction.bits,
                code: instruction.code, changes: []))
    }
}
