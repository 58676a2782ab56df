// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// Entering a signal's handler, and coming back from it.
extension LinuxProcess {
    /// Puts a handler's frame on the stack, and the thread at its beginning.
    ///
    /// - Returns: false if there can be no such frame.
    mutating func enterHandler(
        of info: SignalInfo, on processor: any GuestProcessor, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> Bool {
        let action = signals[info.signal]
        if action.flags.contains(.resetHandler) { signals[info.signal].handler = SignalAction.asUsual }
        leaveCall(for: action)
        guard action.flags.contains(.restorer), action.handler < AddressLayout.userEnd else { return false }
        let state = ExtendedState(ofProcessor: try takeExtendedState(of: processor)).framed
        guard let place = framePlace(for: action, stateBytes: state.count) else { return false }
        let thread = threads.running
        var frame = SignalFrame(
            returnAddress: action.restorer, registers: thread.registers, trap: thread.trap,
            mask: thread.maskToRestore ?? thread.mask, stack: thread.stack, extendedState: place.state,
            information: info)
        frame.registers.rflags |= ProgramFlags.always
        do throws(Errno) {
            try space.write(state, at: place.state, memory)
            try space.write(frame.record, at: place.frame, memory)
        } catch {
            return false
        }
        _ = try processor.setExtendedState(nil)
        begin(action, info.signal, at: place.frame)
        return true
    }

    /// What the interrupted call, if there is one, leaves in the registers.
    private mutating func leaveCall(for action: SignalAction) {
        guard let call = threads.running.interrupted else { return }
        let arguments = CallArguments(threads.running.registers)
        if action.flags.contains(.restart), Self.isRestarted(call, arguments) { repeatCall(call) }
        threads.running.interrupted = nil
    }

    /// Where the frame and, above it, the extended state go. nil if they do not fit on the alternate stack that they belong on.
    private func framePlace(for action: SignalAction, stateBytes: Int) -> (frame: UInt64, state: UInt64)? {
        let (stack, pointer) = (threads.running.stack, threads.running.registers.rsp)
        var top = pointer &- SignalFrame.redZone
        let isEntering = action.flags.contains(.onStack) && stack.state(at: top) == 0
        if isEntering { top = stack.start &+ stack.count }
        let state = (top &- UInt64(stateBytes)) & ~(ExtendedState.alignment - 1)
        // At a function's first instruction the stack pointer is 8 below a multiple of 16.
        let frame = ((state &- UInt64(SignalFrame.bytes)) & ~15) &- 8
        let mustFit = isEntering || stack.isInUse(at: pointer)
        return mustFit && !stack.holds(frame) ? nil : (frame, state)
    }

    private mutating func begin(_ action: SignalAction, _ signal: Signal, at frame: UInt64) {
        threads.running.maskToRestore = nil
        threads.running.mask = threads.running.mask.union(action.mask)
        if !action.flags.contains(.noDefer) { threads.running.mask.insert(signal) }
        if threads.running.stack.disarms { threads.running.stack = AlternateStack() }
        threads.running.registers.rax = 0
        threads.running.registers.rdi = UInt64(signal.number)
        threads.running.registers.rsi = frame &+ SignalFrame.Offset.information
        threads.running.registers.rdx = frame &+ SignalFrame.Offset.context
        threads.running.registers.rsp = frame
        threads.running.registers.rip = action.handler
        threads.running.registers.rflags &= ~ProgramFlags.clearedForHandlers
    }

    // MARK: Back

    /// `rt_sigreturn`: all registers become what the frame says, as far as they are a program's to set.
    ///
    /// - Returns: the signal that a frame which makes no sense is answered by.
    mutating func returnFromSignal(
        on processor: any GuestProcessor, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> SignalInfo? {
        let state: [UInt8]?
        do throws(Errno) { state = try takeFrame(memory) } catch { return SignalInfo(.segmentation, .kernel) }
        return try processor.setExtendedState(state) ? nil : SignalInfo(.segmentation, .kernel)
    }

    /// Takes over a frame but for the extended state, which is returned.
    private mutating func takeFrame(_ memory: borrowing GuestMemory) throws(Errno) -> [UInt8]? {
        let registers = threads.running.registers
        let record = try space.read(registers.rsp, count: ReturnFrame.bytes, memory)
        let frame = ReturnFrame(record, flags: registers.rflags)
        (threads.running.registers, threads.running.mask) = (frame.registers, frame.mask)
        let state = try extendedState(at: frame.extendedState, memory)
        // What is wrong with the stack is not looked at.
        try? threads.running.stack.set(frame.stack, at: frame.registers.rsp)
        return state
    }

    /// - Throws: EFAULT for what XRSTOR would not take.
    private mutating func extendedState(
        at address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) -> [UInt8]? {
        guard address != 0 else { return nil }
        let legacy = try space.read(address, count: ExtendedState.legacyBytes, memory)
        var frame = legacy
        if let size = ExtendedState.size(ofFrame: legacy) {
            guard address % ExtendedState.alignment == 0 else { throw .efault }
            let magic = try word32(address &+ UInt64(size), memory)
            // Without the closing magic the rest is not there.
            if magic == ExtendedState.magic.second { frame = try space.read(address, count: size, memory) }
        }
        guard address % 16 == 0,
            let state = ExtendedState(frame: frame, vcpuBytes: threads.extendedStateBytes)
        else { throw .efault }
        return state.bytes
    }

    // MARK: The vCPU's extended state

    mutating func takeExtendedState(of processor: any GuestProcessor) throws(KVMError) -> [UInt8] {
        let bytes = try processor.extendedState()
        threads.extendedStateBytes = bytes.count
        return bytes
    }
}
