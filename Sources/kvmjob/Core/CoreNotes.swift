// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Disassembly
internal import JobModel

/// The notes of a core file, as the kernel lays them out (`<sys/procfs.h>`): the registers, the name, x87 and SSE state.
///
/// gdb knows linear addresses only, so the program counter is the linear address of the next instruction: CS base and IP. All
/// other registers are as the guest had them. A job whose registers are lost has a core without a PRSTATUS note.
struct CoreNotes: Sendable {
    let name: String
    let result: JobResult
    let size: CodeSize

    private var isWide: Bool { size == .bits64 }
    /// The one thread's number; gdb takes 0 for none.
    private static let thread: UInt32 = 1

    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        if let registers = result.registers { bytes += note("CORE", 1, status(registers)) }
        bytes += note("CORE", 3, process)
        if let fpu = result.postMortem.fpu, result.registers != nil {
            // NT_FPREGSET is FXSAVE's layout on x86-64; on i386 NT_PRXFPREG is.
            bytes += isWide ? note("CORE", 2, fpu) : note("LINUX", 0x46E6_2B7F, fpu)
        }
        return bytes
    }

    private func note(_ owner: String, _ type: UInt32, _ contents: [UInt8]) -> [UInt8] {
        let name = Array(owner.utf8) + [0]
        var bytes: [UInt8] = []
        bytes.append(little: [UInt32(name.count), UInt32(contents.count), type])
        return bytes + Self.padded(name) + Self.padded(contents)
    }

    private static func padded(_ bytes: [UInt8]) -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: (4 - bytes.count % 4) % 4)
    }

    // MARK: Registers

    /// `struct elf_prstatus`: 336 bytes, on i386 144.
    private func status(_ registers: Registers) -> [UInt8] {
        let signal = result.outcome.signal(cause: result.postMortem.cause)
        var bytes: [UInt8] = []
        bytes.append(little: [signal, 0, 0, signal] as [UInt32])
        bytes.append(words: [0, 0], wide: isWide)
        bytes.append(little: [Self.thread, 0, Self.thread, Self.thread])
        bytes += [UInt8](repeating: 0, count: isWide ? 64 : 32)
        bytes.append(words: isWide ? wideRegisters(registers) : narrowRegisters(registers), wide: isWide)
        bytes.append(words: [result.postMortem.fpu == nil ? 0 : 1], wide: isWide)
        return bytes
    }

    /// `struct user_regs_struct` of x86-64.
    private func wideRegisters(_ r: Registers) -> [UInt64] {
        let system = result.system ?? SystemRegisters()
        let selectors = [system.ds, system.es, system.fs, system.gs].map { UInt64($0.selector) }
        return [r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx, r.rdx, r.rsi, r.rdi]
            + [Self.noSystemCall, r.rip, UInt64(system.cs.selector), r.rflags, r.rsp, UInt64(system.ss.selector)]
            + [system.fs.base, system.gs.base] + selectors
    }

    /// `struct user_regs_struct` of i386.
    private func narrowRegisters(_ r: Registers) -> [UInt64] {
        let system = result.system ?? SystemRegisters()
        let selectors = [system.ds, system.es, system.fs, system.gs].map { UInt64($0.selector) }
        return [r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rax] + selectors
            + [Self.noSystemCall, system.cs.base &+ r.rip, UInt64(system.cs.selector), r.rflags, r.rsp]
            + [UInt64(system.ss.selector)]
    }

    /// What `orig_rax` holds where no system call is under way.
    private static let noSystemCall = UInt64.max

    // MARK: The name

    /// `struct elf_prpsinfo`: 136 bytes, on i386 124.
    private var process: [UInt8] {
        var bytes: [UInt8] = [0, UInt8(ascii: "R"), 0, 0]
        if isWide { bytes += [0, 0, 0, 0] }
        bytes.append(words: [0], wide: isWide)
        // User and group have 16 bits each on i386.
        bytes += [UInt8](repeating: 0, count: isWide ? 8 : 4)
        bytes.append(little: [Self.thread, 0, Self.thread, Self.thread])
        let file = name.split(separator: "/").last.map(String.init) ?? name
        return bytes + Self.text(file, bytes: 16) + Self.text("\(name): \(result.outcome.name)", bytes: 80)
    }

    /// As much of a text as fits before a zero, without control characters.
    private static func text(_ text: String, bytes count: Int) -> [UInt8] {
        let text = text.utf8.map { $0 < 0x20 ? UInt8(ascii: "?") : $0 }.prefix(count - 1)
        return text + [UInt8](repeating: 0, count: count - text.count)
    }
}

extension Outcome {
    /// The signal that Linux sends a process which ends so; 0 for none.
    fileprivate func signal(cause: Fault?) -> UInt32 {
        switch self {
        case .halted, .exited, .waitExpired, .hostError, .snapshotTaken: 0
        case .faulted(let fault): fault.signal
        case .tripleFault: cause?.signal ?? 11
        case .unemulatable: 4
        case .exhausted: 24
        case .cancelled: 15
        }
    }
}

extension Fault {
    /// SIGFPE, SIGTRAP, SIGILL, SIGBUS or, for all that is about memory and rights, SIGSEGV.
    fileprivate var signal: UInt32 {
        switch vector {
        case 0, 16, 19: 8
        case 1, 3: 5
        case 6: 4
        case 17: 7
        default: 11
        }
    }
}
