// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import KVM
internal import LinuxPersonality

/// Standard input that the code in the guest gives out by itself, so that a program that reads megabytes in small pieces leaves the
/// guest once for each 64 KiB and not for each piece.
///
/// The process has all bytes meanwhile. Before it serves a call it is told how many are gone, so that nothing but `read` needs to know
/// that there is a window. The program can write where it is kept, and spoil its own input that way.
struct InputWindow {
    private static let limit = ProgramArea.inputWindow.upperBound - ProgramArea.inputWindow.lowerBound
    private static let bytes = ProgramArea.physicalAddress(of: ProgramArea.inputWindow.lowerBound)
    private static let position = ProgramArea.physicalAddress(of: ProgramArea.inputPosition)

    /// How many bytes the window had that the process has been told of; 0 while it has none.
    private var left: UInt64 = 0
    /// What the process had read when it had these.
    private var readBytes: UInt64 = 0

    /// Tells the process what the program has taken. Before each call that it serves.
    mutating func settle(_ process: inout LinuxProcess, _ memory: borrowing GuestMemory) {
        guard left > 0 else { return }
        let now = min(memory.word(at: Self.position + 8) ?? 0, left)
        process.dropInput(Int(left - now))
        (left, readBytes) = (now, process.readInputBytes)
    }

    /// Puts input there if there is any, or takes it back where the program would not find in it what comes next. After each call.
    ///
    /// - Parameter isRead: whether the program has just read from descriptor 0.
    mutating func offer(_ process: borrowing LinuxProcess, afterRead isRead: Bool, _ memory: borrowing GuestMemory) {
        guard left > 0 || isRead else { return }
        let isRight = process.readsInputAtDescriptor0
        if left > 0, !isRight || process.readInputBytes != readBytes { set(0, memory) }
        guard left == 0, isRead, isRight else { return }
        let input = process.nextInput(Int(Self.limit))
        guard !input.isEmpty, memory.write(input, at: Self.bytes) else { return }
        set(UInt64(input.count), memory)
        readBytes = process.readInputBytes
    }

    private mutating func set(_ count: UInt64, _ memory: borrowing GuestMemory) {
        _ = memory.setWords([0, count], at: Self.position)
        left = count
    }

    /// Empties it, and the count of calls with it, whatever a machine that it was kept in had there.
    mutating func close(_ memory: borrowing GuestMemory) {
        let calls = ProgramArea.physicalAddress(of: ProgramArea.fastCalls)
        if memory.word(at: Self.position + 8) != 0 { set(0, memory) }
        if memory.word(at: calls) != 0 { _ = memory.setWord(0, at: calls) }
        left = 0
    }
}
