// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import KVM
internal import NIOConcurrencyHelpers

/// The machine for a slot's next job where no machine is used twice: made while the job before it runs, on the guess that jobs of
/// one kind come in a row. There is one at most.
final class Successor: Sendable {
    fileprivate struct State {
        /// What is to be made, if it is.
        var wanted: MachineKind?
        /// Whether the nursery is at it.
        var isMaking = false
        var ready: Handover<Machine>?
    }

    private let keeping: MachineKeeping
    private let make: MachinePool.Make
    private let state = NIOLockedValueBox(State())

    init(_ keeping: MachineKeeping, make: @escaping MachinePool.Make) { (self.keeping, self.make) = (keeping, make) }

    /// The machine that is ready if it is of this kind; and in any case has the next one of this kind made. Does not wait.
    func exchange(for kind: MachineKind) -> Machine? {
        let (ready, isMaking) = state.withLockedValue { state in
            defer { (state.ready, state.wanted, state.isMaking) = (nil, kind, true) }
            return (state.ready, state.isMaking)
        }
        if !isMaking { keeping.nursery.async { [self] in makeWanted() } }
        guard let machine = ready?.take() else { return nil }
        guard machine.kind == kind else {
            keeping.undertaker.take(consume machine)
            return nil
        }
        return machine
    }

    /// Has no more made, and what is ready destroyed.
    func close() {
        let ready = state.withLockedValue { state in
            defer { (state.ready, state.wanted) = (nil, nil) }
            return state.ready
        }
        if let machine = ready?.take() { keeping.undertaker.take(consume machine) }
    }

    private func makeWanted() {
        while let kind = state.withLockedValue({ $0.next() }) {
            // If it cannot be made, the slot will find that out by itself, and say so.
            let machine = (try? make(kind)).map { Handover($0) }
            state.withLockedValue { $0.finish(kind, machine) }
        }
    }
}

extension Successor.State {
    fileprivate mutating func next() -> MachineKind? {
        isMaking = wanted != nil
        return wanted
    }

    /// A machine that nobody wants any more goes with its last reference, the caller's.
    fileprivate mutating func finish(_ kind: MachineKind, _ machine: Handover<Machine>?) {
        guard wanted == kind else { return }
        (wanted, ready) = (nil, machine)
    }
}
