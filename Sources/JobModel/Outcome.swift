// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Why a job ended. The list is closed: every accepted job ends with exactly one of these.
public enum Outcome: Sendable, Hashable {
    /// The vCPU executed HLT. RIP is the address behind the HLT.
    case halted
    /// The guest wrote this code to the exit port (or, for a Linux program, called `exit`).
    case exited(code: UInt32)
    /// A CPU exception that nothing in the guest handles.
    case faulted(Fault)
    /// A fault while delivering a double fault: `KVM_EXIT_SHUTDOWN`.
    case tripleFault
    /// KVM could not execute an instruction: `KVM_EXIT_INTERNAL_ERROR`.
    case unemulatable(Unemulatable)
    /// A budget was reached. `limit` and `used` are in the unit of the kind.
    case exhausted(BudgetKind, limit: UInt64, used: UInt64)
    /// Somebody stopped it.
    case cancelled(by: Canceller)
    /// It waited in the queue past its deadline, in nanoseconds, and never started.
    case waitExpired(limit: UInt64)
    /// kvmjob's fault or the host's, never the guest's. Running the job again is safe.
    case hostError(String)
    /// The job got to the point where its machine was to be kept, and the snapshot has this name.
    case snapshotTaken(ContentDigest)

    /// The stable name, on the command line and in JSON.
    public var name: String {
        switch self {
        case .halted: "halted"
        case .exited: "exited"
        case .faulted: "faulted"
        case .tripleFault: "triple-fault"
        case .unemulatable: "unemulatable"
        case .exhausted(let kind, _, _): "\(kind.name)-exhausted"
        case .cancelled: "cancelled"
        case .waitExpired: "wait-expired"
        case .hostError: "host-error"
        case .snapshotTaken: "snapshot-taken"
        }
    }
}

/// A CPU exception that ended a job.
public struct Fault: Sendable, Hashable {
    /// The exception's vector, 0 to 31: 13 is a general protection fault, 14 a page fault.
    public var vector: UInt8
    /// The error code that the CPU pushed, for the vectors that have one.
    public var errorCode: UInt32?
    /// The address that was accessed (CR2), for a page fault.
    public var address: UInt64?
    /// RIP as the CPU saved it: the faulting instruction, or the one behind a trap such as INT3.
    public var rip: UInt64

    /// A fault with all its parts.
    public init(vector: UInt8, errorCode: UInt32?, address: UInt64?, rip: UInt64) {
        self.vector = vector
        self.errorCode = errorCode
        self.address = address
        self.rip = rip
    }

    /// The mnemonic and name of the exception in the processor manuals, such as "#PF page fault".
    public var title: String {
        switch vector {
        case 0: "#DE divide error"
        case 1: "#DB debug exception"
        case 2: "NMI"
        case 3: "#BP breakpoint"
        case 4: "#OF overflow"
        case 5: "#BR bound range exceeded"
        case 6: "#UD invalid opcode"
        case 7: "#NM device not available"
        case 8: "#DF double fault"
        case 10: "#TS invalid TSS"
        case 11: "#NP segment not present"
        case 12: "#SS stack fault"
        case 13: "#GP general protection fault"
        case 14: "#PF page fault"
        case 16: "#MF x87 floating-point error"
        case 17: "#AC alignment check"
        case 18: "#MC machine check"
        case 19: "#XM SIMD floating-point error"
        case 20: "#VE virtualisation exception"
        case 21: "#CP control protection"
        default: "exception \(vector)"
        }
    }
}

/// An instruction that KVM would not execute.
public struct Unemulatable: Sendable, Hashable {
    /// Its address, or nil where the backend has no registers to show.
    public var rip: UInt64?
    /// Its first bytes, at most 15, as KVM reported them or as memory held them; may be longer than the instruction.
    public var bytes: [UInt8]

    /// An instruction by address and bytes.
    public init(rip: UInt64?, bytes: [UInt8]) {
        self.rip = rip
        self.bytes = bytes
    }
}

/// Who cancelled a job. The raw values are the numbers on the wire.
public enum Canceller: UInt8, Sendable, Hashable, CaseIterable {
    /// The client asked for it.
    case client = 1
    /// The client's connection ended.
    case disconnect = 2
    /// The worker is shutting down and its grace time is over.
    case drain = 3
    /// Its user asked for it by its id, as `kvmjob cancel` does, on whatever connection.
    case user = 4
    /// An operator of the worker asked for it.
    case `operator` = 5

    /// The name in JSON and in logs.
    public var name: String {
        switch self {
        case .client: "client"
        case .disconnect: "disconnect"
        case .drain: "drain"
        case .user: "user"
        case .operator: "operator"
        }
    }
}
