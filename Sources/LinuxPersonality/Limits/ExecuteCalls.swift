// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    /// The most arguments and variables of a program: 16,384.
    private static var stringLimit: Int { 1 << 14 }

    /// `execve`: another program in the same process. What can be wrong with it is found out before this one is given up; if it turns
    /// out not to fit then, the process is killed, as on Linux.
    mutating func execve(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let path = try path(arguments[0], memory)
        guard !path.isEmpty else { throw .enoent }
        var room = Program.argumentBytesLimit
        var strings = try strings(at: arguments[1], &room, memory)
        // Linux gives a program without arguments an empty one.
        if strings.isEmpty { strings = [[]] }
        let environment = try self.strings(at: arguments[2], &room, memory)
        let program = Program(path: path, arguments: strings, environment: environment)
        do throws(ProgramError) { try check(program) } catch { throw Errno(error) }
        giveUpProgram(memory)
        do throws(ProgramError) {
            let start = try load(program, memory)
            return .onProcessor(.begin(start))
        } catch {
            return .over(.killed(signal: Signal.kill.number, fault: nil))
        }
    }

    /// An array of pointers to strings, up to a null pointer.
    ///
    /// - Throws: E2BIG when there are more than there is room for.
    private mutating func strings(
        at address: UInt64, _ room: inout Int, _ memory: borrowing GuestMemory
    ) throws(Errno) -> [[UInt8]] {
        guard address != 0 else { return [] }
        var (strings, next): ([[UInt8]], UInt64) = ([], address)
        while true {
            let pointer = try word64(next, memory)
            guard pointer != 0 else { return strings }
            guard strings.count < Self.stringLimit, room > 9 else { throw .e2big }
            do throws(Errno) { strings.append(try space.cString(at: pointer, limit: room - 9, memory)) } catch {
                throw error == .enametoolong ? .e2big : error
            }
            room -= (strings.last?.count ?? 0) + 9
            next &+= 8
        }
    }

    /// Leaves of the process what another program finds: its files, what it ignores and what it blocks.
    private mutating func giveUpProgram(_ memory: borrowing GuestMemory) {
        space.remove(AddressLayout.mappable, memory)
        var thread = Thread(number: UInt32(Self.number))
        (thread.mask, thread.pending) = (threads.running.mask, threads.running.pending)
        threads.keepRunning(as: thread)
        firstThreadStatus = nil
        signals.forgetHandlers()
        timers.made = []
        timers.noteDue()
        for descriptor in files.table.numbers where files.table[descriptor]?.isClosedOnExec == true {
            try? files.close(descriptor)
        }
    }
}

extension Errno {
    fileprivate init(_ error: ProgramError) {
        self = Errno.allCases.first { $0.name == error.code } ?? .enoexec
    }
}
