// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import JobModel
internal import KVM

/// The end of several vCPUs on the board of a PC, where HLT waits in the kernel and one that waits can be woken by another.
///
/// Every vCPU is looked at when its alarm goes off. If each of them waited when it was last looked at, they are made to leave their
/// guests and held outside, one after the other; when all are there nobody can wake anybody any more, and what they are then is looked
/// at once again.
extension Execution {
    /// The job's end, if all vCPUs wait for what cannot come. Blocks the present one's thread while others are on their way here.
    func lookForStandstill() throws(KVMError) -> Outcome? {
        let seat = machine.current
        seat.waits = try waits(seat)
        guard seat.waits, machine.seats.allSatisfy(\.waits) else {
            letGo()
            return nil
        }
        guard let baton else { return nil }
        if held == nil { summonOthers(than: seat) }
        held?.append(seat)
        if held?.count == machine.seats.count { return try decide(seat) }
        baton.release { seat.release.wait() }
        machine.current = seat
        return commonEnd?.outcome
    }

    /// HLT with interrupts off, or not started.
    private func waits(_ seat: VCPUSeat) throws(KVMError) -> Bool {
        if try seat.vcpu.awaitsStart() { return true }
        return try seat.vcpu.isHalted(in: machine.vm)
    }

    private func summonOthers(than seat: VCPUSeat) {
        held = []
        for other in machine.seats where other !== seat { other.vcpu.kicker.kick() }
    }

    /// All are outside their guests.
    private func decide(_ last: VCPUSeat) throws(KVMError) -> Outcome? {
        held?.removeLast()
        for seat in machine.seats {
            guard try waits(seat) else {
                letGo()
                return nil
            }
        }
        end(.halted, by: nil)
        return .halted
    }

    /// Says of those that had been stopped which of them were only waiting. None of them runs.
    func tellWaiting() throws(KVMError) {
        guard machine.kind.hardware != nil else { return }
        for seat in machine.seats where seat.state == .stopped {
            if try seat.vcpu.awaitsStart() {
                seat.state = .waiting
            } else if try seat.vcpu.isHalted(in: machine.vm) {
                seat.state = .halted
            }
        }
    }

    /// Whoever is held goes on.
    func letGo() {
        held?.forEach { $0.release.signal() }
        held = nil
    }
}
