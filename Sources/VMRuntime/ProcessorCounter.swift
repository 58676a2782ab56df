// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// The processor's counter of the instructions that the guest retires, for VT-x and SVM.
///
/// What KVM carries out in the guest's place after an exit does not retire, and KVM does not say what that was. So a slice's count
/// is trusted only if every exit in it is accounted for: one that ended it, interrupts, and page faults of KVM's own tables, after
/// which the instruction runs again. The instruction that ended it by an access or HLT retired too, though not on the processor.
///
/// Exceptions need no care here: an instruction that faults does not retire. A repeated string instruction retires once.
struct ProcessorCounter: SliceCounter, ~Copyable {
    /// The overflow interrupt of AMD's processors has been seen thousands of instructions late, Intel's a hundred; a slice that
    /// went beyond the limit is taken back all the same.
    let reach: UInt64 = 20_000

    private var counter: InstructionCounter
    private let statistics: ExitStatistics
    private var before = ExitStatistics.Counts()
    private var period: UInt64 = 0

    /// Counts by the thread's counter.
    ///
    /// - Throws: ``KVMError`` where there is none, or none for this user.
    init(_ vcpu: borrowing VirtualCPU, on thread: VCPUThread) throws(KVMError) {
        guard let counter = thread.counter else { throw .unexpectedReply(.countInstructions) }
        guard let statistics = vcpu.exitStatistics() else { throw .unexpectedReply(.getStatsFD) }
        self.counter = counter
        self.statistics = statistics
    }

    /// The counter is one thread's.
    mutating func changeThread(to thread: VCPUThread) throws(KVMError) {
        guard let counter = thread.counter else { throw .unexpectedReply(.countInstructions) }
        self.counter = counter
    }

    mutating func start(left: UInt64, on machine: Machine) throws(KVMError) -> SliceStart {
        guard let now = statistics.counts() else { return .impossible }
        (before, period) = (now, left - min(left, reach) + 1)
        try counter.start(kickAfter: period)
        return .until(nil)
    }

    mutating func stop(after exit: VMExit, on machine: Machine) throws(KVMError) -> SliceReading {
        guard let count = try counter.stop(), let now = statistics.counts() else {
            return SliceReading(count: 0, isTrusted: false)
        }
        let own: UInt64 = exit.isByInstruction ? 1 : 0
        // The overflow's own interrupt is an exit that KVM accounts for nowhere.
        let overflow: UInt64 = count >= period ? 1 : 0
        let unaccounted = (now.all &- before.all) &- (now.accounted &- before.accounted)
        return SliceReading(count: count + own, isTrusted: unaccounted <= own + overflow)
    }
}

extension VMExit {
    /// Whether an instruction ended the run, which KVM carries out or has carried out.
    fileprivate var isByInstruction: Bool {
        switch self {
        case .portIn, .portOut, .mmioRead, .mmioWrite, .msrRead, .msrWrite, .halt: true
        case .interrupted, .shutdown, .failEntry, .internalError, .taskPriorityChanged, .debug, .other: false
        }
    }
}
