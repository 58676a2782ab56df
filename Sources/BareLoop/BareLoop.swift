// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CBareLoop
internal import Dispatch
public import GuestImage
internal import JobModel

/// One image, run again and again in one virtual machine of its own by bare system calls in C: what a worker is measured
/// against.
///
/// No queue, no budgets, no devices, no result; but each job starts where the image's job starts in a worker, and
/// nothing of one is left for the next. Several loops run beside each other, each on its own thread.
@safe public final class BareLoop: Sendable {
    /// What ``run(for:)`` did.
    public struct Tally: Sendable, Hashable {
        /// Jobs that ended.
        public var jobs: UInt64
        /// Nanoseconds from the start of the first to the end of the last.
        public var nanoseconds: UInt64
        /// How each of them ended.
        public var end: End

        /// Jobs per second.
        public var rate: Double { Double(jobs) / (Double(nanoseconds) / 1e9) }
    }

    /// How the guest ends, every time.
    public struct End: Sendable, Hashable {
        /// What it wrote to the exit port; nil where it halted.
        public var exitCode: UInt32?
        /// Bytes that it wrote to COM1 and to the debug console.
        public var outputBytes: UInt64
    }

    // SAFETY: made in `init`, destroyed in `deinit`, and in between used on `queue` only, one call at a time.
    private nonisolated(unsafe) let loop: OpaquePointer
    private let queue = DispatchQueue(label: "kvmjob.bare-loop")

    /// Makes a machine and puts the image into it.
    ///
    /// - Throws: ``BareLoopError`` where KVM cannot be used, or lacks `KVM_CAP_SYNC_REGS`, `KVM_CAP_XSAVE`, `KVM_CAP_XCRS`,
    ///   `KVM_CAP_DEBUGREGS` or `KVM_CAP_X86_MSR_FILTER`.
    public init(_ layout: GuestLayout) throws(BareLoopError) {
        // SAFETY: a loop that could not be made whole is destroyed like one that could; nil is one that has no memory.
        var made: OpaquePointer? = nil
        let result = unsafe bare_loop_make(layout.memoryBytes, &made)
        guard let loop = unsafe made else { throw .call(errno: -result) }
        do {
            try BareLoopError.check(result)
            for piece in layout.pieces {
                // SAFETY: the bytes are lent for the call, which checks their place.
                try BareLoopError.check(
                    unsafe bare_loop_load(loop, piece.address, piece.bytes, UInt64(piece.bytes.count)))
            }
            var (registers, system) = (kvm_regs(layout.registers), kvm_sregs(layout.system))
            let extended = !layout.fixesCR4 && (layout.mode == .long64 || layout.mode == .user64)
            // SAFETY: both structures are read during the call.
            try BareLoopError.check(unsafe bare_loop_start(loop, &registers, &system, extended ? 1 : 0))
        } catch {
            unsafe bare_loop_destroy(loop)
            throw error
        }
        unsafe self.loop = loop
    }

    deinit { unsafe bare_loop_destroy(loop) }

    /// Runs jobs, one at least, until this much time is over. A guest that does not end by itself never lets it return.
    ///
    /// - Throws: ``BareLoopError``.
    public func run(for duration: Duration) async throws -> Tally {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try self.runHere(duration.wholeNanoseconds) }) }
        }
    }

    private func runHere(_ nanoseconds: UInt64) throws(BareLoopError) -> Tally {
        var tally = bare_tally()
        // SAFETY: on `queue`, so that no other call uses the loop.
        try BareLoopError.check(unsafe bare_loop_run(loop, nanoseconds, &tally))
        let end = End(exitCode: tally.end.exited == 0 ? nil : tally.end.code, outputBytes: tally.end.output_bytes)
        return Tally(jobs: tally.jobs, nanoseconds: tally.nanoseconds, end: end)
    }
}

/// Why an image cannot be run in a bare loop.
public enum BareLoopError: Error, Sendable, Hashable, CustomStringConvertible {
    /// A system call failed.
    case call(errno: Int32)
    /// The guest did what only a worker's devices, meters and outcomes have an answer to.
    case unserved
    /// Not every job did the same.
    case differed
    /// This kernel lacks a capability.
    case unsupported

    static func check(_ result: Int32) throws(BareLoopError) {
        switch result {
        case 0...: return
        case BARE_LOOP_UNSERVED: throw .unserved
        case BARE_LOOP_DIFFERED: throw .differed
        case BARE_LOOP_UNSUPPORTED: throw .unsupported
        default: throw .call(errno: -result)
        }
    }

    /// What is wrong and what would be right.
    public var description: String {
        switch self {
        case .call(let errno): "a system call of the bare loop failed with errno \(errno)"
        case .unserved:
            "the guest does not run in a bare loop, which serves port accesses, HLT and the exit port and nothing else"
        case .differed:
            "the guest does not do the same every time: a bare loop needs one that ends alike and writes the same pages"
        case .unsupported:
            "the bare loop needs a kernel with KVM_CAP_SYNC_REGS, XSAVE, XCRS, DEBUGREGS and X86_MSR_FILTER"
        }
    }
}
