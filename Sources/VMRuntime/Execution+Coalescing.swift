// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// Console bytes that come without an exit each.
///
/// KVM keeps them in order, and they are served before the next exit is, whatever that is: so each byte meets the devices as it would
/// have by an exit of its own. A guest that writes a little and then does not exit is looked at by the alarm.
extension Execution {
    /// Nanoseconds between two looks. A byte waits for one of them in the kernel and for another one at most here.
    static var lookInterval: UInt64 { PendingOutput.flushDelay }

    func startConsoleLooks() {
        nextConsoleLook = machine.kind.coalescesConsole ? MonotonicClock.now + Self.lookInterval : .max
    }

    /// Whether what waits has to be sent now. Behind a look that is everything: nobody knows how long it waited in the kernel.
    func isOutputDue(at now: UInt64) -> Bool {
        if now >= nextConsoleLook {
            nextConsoleLook = now + Self.lookInterval
            return !output.isEmpty
        }
        return output.dueAt.map { now >= $0 } ?? false
    }

    /// Serves what the guest wrote before the present exit. Returns the job's end where that is in it; the exit is then not served.
    func serveConsoleWrites() throws(KVMError) -> Outcome? {
        guard try machine.takeConsoleWrites() else { return nil }
        let (ports, values) = (machine.consoleWrites.ports, machine.consoleWrites.values)
        // None of these ports changes what a later byte means, so that one look is enough for all of them.
        guard !board.passesOn(ports) else { return append(values, to: .console) }
        for (port, value) in zip(ports, values) {
            if let outcome = perform(board.write(port, size: 1, value: UInt32(value))) { return outcome }
        }
        return nil
    }
}
