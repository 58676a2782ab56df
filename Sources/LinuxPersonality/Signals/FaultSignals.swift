// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

extension SignalInfo {
    /// The signal that an exception is for the thread that caused it, as Linux translates it.
    ///
    /// - Parameters:
    ///   - violation: of a page fault, what was wrong.
    ///   - state: x87's and SSE's registers, which say what was wrong with a computation.
    init(_ fault: Fault, _ violation: MemoryViolation?, _ state: ExtendedState?) {
        let (signal, code, address) = Self.meaning(of: fault, violation, state)
        self.init(signal, code, address, fault: fault)
    }

    private static func meaning(
        of fault: Fault, _ violation: MemoryViolation?, _ state: ExtendedState?
    ) -> (Signal, Code, address: UInt64) {
        switch fault.vector {
        // FPE_INTDIV
        case 0: (.arithmetic, Code(value: 1), fault.rip)
        // TRAP_TRACE
        case 1: (.trap, Code(value: 2), fault.rip)
        case 3: (.trap, .kernel, 0)
        // ILL_ILLOPN
        case 6: (.illegal, Code(value: 2), fault.rip)
        case 11, 12: (.bus, .kernel, 0)
        case 14: pageFault(violation, fault.address ?? 0)
        case 16, 19: (.arithmetic, computation(fault.vector, state), fault.rip)
        // BUS_ADRALN
        case 17: (.bus, Code(value: 1), 0)
        default: (.segmentation, .kernel, 0)
        }
    }

    private static func pageFault(
        _ violation: MemoryViolation?, _ address: UInt64
    ) -> (Signal, Code, address: UInt64) {
        switch violation {
        // SEGV_MAPERR
        case .notMapped, nil: (.segmentation, Code(value: 1), address)
        // SEGV_ACCERR
        case .forbidden: (.segmentation, Code(value: 2), address)
        // BUS_ADRERR
        case .beyondFile: (.bus, Code(value: 2), address)
        }
    }

    /// Which of the exceptions that are not masked came first.
    private static func computation(_ vector: UInt8, _ state: ExtendedState?) -> Code {
        guard let controls = state?.controls else { return .kernel }
        let raised =
            vector == 16 ? controls.x87Status & ~controls.x87 : ~(controls.mxcsr >> 7) & controls.mxcsr
        // FPE_FLTINV, FLTDIV, FLTOVF, FLTUND (with denormals), FLTRES
        let meanings: [(UInt64, Int32)] = [(1, 7), (4, 3), (8, 4), (0x12, 5), (0x20, 6)]
        return meanings.first { raised & $0.0 != 0 }.map { Code(value: $0.1) } ?? .kernel
    }
}
