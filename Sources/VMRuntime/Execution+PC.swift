// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// What differs on the board of a PC: HLT waits in the kernel, and the board has model-specific registers.
extension Execution {
    /// Nanoseconds between two looks for a guest that has halted: 5 ms. A look takes a few microseconds.
    static var haltInterval: UInt64 { 5_000_000 }

    func startHaltLooks() {
        nextHaltLook = machine.kind.hardware == nil ? .max : MonotonicClock.now + Self.haltInterval
    }

    /// The job's end, if the guest waits for an interrupt that cannot come.
    func lookForHalt(at now: UInt64) -> Outcome? {
        guard nextHaltLook != .max else { return nil }
        do throws(KVMError) {
            if machine.seats.count > 1 {
                if let outcome = try lookForStandstill() { return outcome }
            } else if try machine.current.vcpu.isHalted(in: machine.vm) {
                return .halted
            }
        } catch {
            return .hostError(error.description)
        }
        if now >= nextHaltLook { nextHaltLook = now + Self.haltInterval }
        return nil
    }

    func readRegister(_ number: UInt32) throws(KVMError) {
        guard let pc = board.pc else { return try machine.current.vcpu.serveMSRRead(number) }
        machine.current.vcpu.answerMSRRead(pc.registers.read(number))
    }

    func writeRegister(_ number: UInt32, _ value: UInt64) throws(KVMError) {
        guard board.pc != nil else { return try machine.current.vcpu.serveMSRWrite(number, value) }
        machine.current.vcpu.answerMSRWrite(isTaken: board.pc?.registers.write(number, value) ?? false)
    }
}
