// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension Machine {
    /// Bytes of guest memory that a machine may keep while it waits for a job: 1 MiB.
    static let idleBytes: UInt64 = 1 << 20
    /// Bytes of guest memory that a job may leave behind for the next one: 64 MiB. Beyond that restoring them costs milliseconds,
    /// and keeping them takes from others.
    static let leftBytes: UInt64 = 64 << 20

    /// Gives memory back until at most so many bytes are resident. For a machine that waits for a job; one that fails at it
    /// ``mustRetire``.
    func trim(toBytes limit: UInt64 = idleBytes) {
        retireIfThrown { () throws(KVMError) in try vm.trim(toBytes: limit) }
    }

    /// Gives memory back if a job has left more than ``leftBytes``, likewise. For the end of each job, once nobody looks at its
    /// memory any more; costs nothing for guests that have no more than that.
    func giveBackExcess() {
        retireIfThrown { () throws(KVMError) in try vm.trim(toBytes: Self.idleBytes, ifOver: Self.leftBytes) }
    }

    private func retireIfThrown(_ act: () throws(KVMError) -> Void) {
        do throws(KVMError) { try act() } catch { retire() }
    }
}
