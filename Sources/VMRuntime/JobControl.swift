// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
public import JobModel
internal import KVM
internal import NIOConcurrencyHelpers

/// The one place where a running job and the rest of the worker meet: whoever holds it can stop the job, give it input and let
/// it write more. All calls may come from any thread and none of them blocks, but for those that say so.
///
/// A paused job has no thread, so its machine is here: put by the slot that it leaves, and taken once, by the slot that it goes
/// on in or by ``endPaused()``.
public final class JobControl: Sendable {
    private struct State {
        var canceller: Canceller?
        var kicker: Kicker?
        /// Those of the vCPUs but the first.
        var otherKickers: [Kicker] = []
        var credit = 0
        var creditHasEnded = false
        var input: [UInt8] = []
        var inputEnded: Bool
        /// Refers to this control, its own vCPU, and the thread that it ran on, which it leaves alone until it has its next one.
        var paused: Handover<Execution>?
        var snapshot: Snapshot?
    }

    /// Paused jobs end here, in the order in which they are told to: that takes as long as a short job, more than the caller's
    /// thread should wait.
    private static let endings = DispatchQueue(label: "kvmjob.paused-endings")

    private let state: NIOLockedValueBox<State>
    /// Signalled whenever something changed that a slot may be waiting for.
    private let changed = DispatchSemaphore(value: 0)

    /// Control of a job that has not started.
    ///
    /// - Parameter hasInput: whether input will come; without it the guest's input is at its end from the start.
    public init(hasInput: Bool) { state = NIOLockedValueBox(State(inputEnded: !hasInput)) }

    // MARK: For the worker

    /// Stops the job, running or not; the first canceller is the one that counts.
    public func cancel(_ canceller: Canceller) {
        let (kicker, others) = state.withLockedValue { state in
            state.canceller = state.canceller ?? canceller
            return (state.kicker, state.otherKickers)
        }
        kicker?.kick()
        others.forEach { $0.kick() }
        changed.signal()
    }

    /// Lets the guest write this many more bytes.
    public func grantOutput(_ bytes: Int) {
        state.withLockedValue { $0.credit = $0.credit.addingReportingOverflow(max(bytes, 0)).partialValue }
        changed.signal()
    }

    /// No more credit will come: nobody needs to wait for some.
    public func endOutputCredit() {
        state.withLockedValue { $0.creditHasEnded = true }
        changed.signal()
    }

    /// Adds to the guest's input. The caller bounds how much is waiting: by the wire's window.
    public func appendInput(_ bytes: [UInt8], end: Bool) {
        state.withLockedValue { state in
            state.input += bytes
            state.inputEnded = state.inputEnded || end
        }
        changed.signal()
    }

    /// Ends the job where it is paused: as cancelled if ``cancel(_:)`` was called, or else for want of steps.
    /// ``JobEvent/finished(_:)`` follows, on a thread of its own. Does nothing for a job that is not paused.
    public func endPaused() {
        Self.endings.async { [self] in
            guard let execution = takePaused() else { return }
            guard execution.inquiry.dumps.isEmpty else { return endOnOwnThread(Handover(execution)) }
            Self.end(consume execution)
        }
    }

    /// A client that takes its time to read the job's memory must not keep others waiting.
    private func endOnOwnThread(_ paused: Handover<Execution>) {
        DispatchQueue(label: "kvmjob.paused-dump").async {
            guard let execution = paused.take() else { return }
            Self.end(consume execution)
        }
    }

    /// No slot is here that could use the machine again. It goes before the result, so that a worker that has sent its last result
    /// has no machine left.
    private static func end(_ execution: consuming Execution) {
        let emit = execution.emit
        let result = execution.endPaused()
        _ = consume execution
        emit(.finished(result))
    }

    /// The snapshot of a job that has ended as `snapshotTaken`: there once ``JobEvent/finished(_:)`` has come, and given away here.
    public func takeSnapshot() -> Snapshot? {
        state.withLockedValue { state in
            defer { state.snapshot = nil }
            return state.snapshot
        }
    }

    // MARK: For the slot

    /// Keeps what the job's machine was at its end.
    func keep(_ snapshot: Snapshot) { state.withLockedValue { $0.snapshot = snapshot } }

    /// Keeps a paused job's machine; the caller does not touch it any more.
    func keep(_ execution: Execution) { state.withLockedValue { $0.paused = Handover(execution) } }

    /// Takes the paused job's machine, if it is still here: whoever gets it is its owner.
    func takePaused() -> Execution? {
        let paused = state.withLockedValue { state in
            defer { state.paused = nil }
            return state.paused
        }
        return paused?.take()
    }

    /// Who cancelled the job, if somebody did.
    var canceller: Canceller? { state.withLockedValue { $0.canceller } }

    /// From here on a cancel kicks this vCPU, and these. Looks at ``canceller`` afterwards, so that none falls in between.
    func attach(_ kicker: Kicker?, _ others: [Kicker] = []) {
        state.withLockedValue { ($0.kicker, $0.otherKickers) = (kicker, others) }
    }

    func detach() { attach(nil) }

    /// Takes at most `wanted` bytes of credit.
    func takeCredit(upTo wanted: Int) -> Int {
        state.withLockedValue { state in
            let taken = min(max(state.credit, 0), wanted)
            state.credit -= taken
            return taken
        }
    }

    /// Blocks this thread until there may be more credit. Returns false when none is worth waiting for: behind this instant of
    /// ``MonotonicClock``, of a cancelled job, or of one whose client can give none.
    func waitForCredit(until instant: UInt64) -> Bool {
        let isPointless = state.withLockedValue { $0.canceller != nil || $0.creditHasEnded }
        guard !isPointless, MonotonicClock.now < instant else { return false }
        waitForChange(until: instant)
        return true
    }

    /// All the input that has come since the last call, and whether that is the end of it.
    func takeInput() -> (bytes: [UInt8], ended: Bool) {
        state.withLockedValue { state in
            defer { state.input = [] }
            return (state.input, state.inputEnded)
        }
    }

    /// As much input as a guest that must not see it come is waited for: a worker's first window for it, 64 KiB.
    private static let firstInputBytes = 65_536

    /// Blocks this thread until all of the input is there, or as much as may come before the guest reads. Returns early behind this
    /// instant of ``MonotonicClock``, and for a cancelled job.
    func waitForInput(until instant: UInt64) {
        while MonotonicClock.now < instant {
            let isEnough = state.withLockedValue {
                $0.inputEnded || $0.input.count >= Self.firstInputBytes || $0.canceller != nil
            }
            if isEnough { return }
            waitForChange(until: instant)
        }
    }

    /// Blocks this thread until something changed, or until this instant of ``MonotonicClock``. May return early.
    func waitForChange(until instant: UInt64) {
        let now = MonotonicClock.now
        guard instant > now else { return }
        let nanoseconds = Int(clamping: min(instant - now, UInt64(Int32.max)))
        _ = changed.wait(timeout: .now() + .nanoseconds(nanoseconds))
    }
}
