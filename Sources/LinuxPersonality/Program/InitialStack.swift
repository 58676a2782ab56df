// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import KVM

/// What a program is told of itself and its machine: the auxiliary vector of the x86-64 ABI, less what lies on the stack.
struct AuxiliaryVector: Sendable {
    /// Where the program headers are, if any segment has them.
    var programHeaders: UInt64
    var programHeaderCount: UInt64
    /// The program's own entry, which the dynamic linker goes to in the end.
    var entry: UInt64
    /// Where the dynamic linker was loaded; 0 without one.
    var linkerBase: UInt64 = 0

    /// `AT_*`, of `elf.h`.
    enum Kind: UInt64 {
        case null = 0
        case programHeaders = 3
        case programHeaderBytes = 4
        case programHeaderCount = 5
        case pageBytes = 6
        case linkerBase = 7
        case flags = 8
        case entry = 9
        case user = 11
        case effectiveUser = 12
        case group = 13
        case effectiveGroup = 14
        case platform = 15
        case hardware = 16
        case clockTicks = 17
        case isSecure = 23
        case random = 25
        case hardware2 = 26
        case executableName = 31
        case sharedObject = 33
        case smallestSignalStack = 51
    }

    /// CPUID leaf 1's EDX, of which every 64-bit processor has these.
    private static let hardware: UInt64 = 0x178B_FBFF
    /// `MINSIGSTKSZ` for a processor with AVX-512: what a signal's frame takes.
    private static let signalStackBytes: UInt64 = 3632

    init(_ file: ELFFile, _ loaded: LinuxProcess.LoadedFile) {
        programHeaders = file.programHeadersAddress.map { $0 &+ loaded.bias } ?? 0
        programHeaderCount = UInt64(file.programHeaderCount)
        entry = loaded.entry
    }

    func entries(random: UInt64, platform: UInt64, name: UInt64) -> [(Kind, UInt64)] {
        let user = UInt64(ProcessFiles.user)
        return [
            (.programHeaders, programHeaders), (.programHeaderBytes, UInt64(ELFFile.programHeaderBytes)),
            (.programHeaderCount, programHeaderCount), (.pageBytes, GuestMemory.pageBytes), (.linkerBase, linkerBase),
            (.flags, 0), (.entry, entry), (.user, user), (.effectiveUser, user), (.group, user),
            (.effectiveGroup, user), (.isSecure, 0), (.clockTicks, 100), (.hardware, Self.hardware), (.hardware2, 0),
            (.random, random), (.platform, platform), (.executableName, name),
            (.sharedObject, ProgramArea.sharedObject), (.smallestSignalStack, Self.signalStackBytes), (.null, 0),
        ]
    }
}

/// The stack as a program finds it: `argc`, `argv`, `envp` and the auxiliary vector, and above them what they point to.
struct InitialStack: Sendable {
    private let program: Program
    private let auxiliary: AuxiliaryVector
    private let random: [UInt8]

    /// - Parameter random: 16 bytes, from which C libraries make what guards their stacks.
    init(_ program: Program, _ auxiliary: AuxiliaryVector, random: [UInt8]) {
        (self.program, self.auxiliary, self.random) = (program, auxiliary, random)
    }

    /// Puts it there.
    ///
    /// - Returns: the stack pointer that the program starts with, a multiple of 16, and where the random bytes are.
    func put(
        below top: UInt64, in space: inout AddressSpace, _ memory: borrowing GuestMemory
    ) throws(Errno) -> (pointer: UInt64, random: UInt64) {
        var strings: [UInt8] = []
        var offsets: [Int] = []
        for string in program.arguments + program.environment + [program.path, Array("x86_64".utf8)] {
            offsets.append(strings.count)
            strings += string + [0]
        }
        offsets.append(strings.count)
        strings += random
        // The kernel ends the stack with a null pointer.
        let start = (top - 8 - UInt64(strings.count)) & ~15
        let addresses = offsets.map { start + UInt64($0) }
        let block = words(addresses)
        let pointer = (start - UInt64(block.count * 8)) & ~15
        try space.write(strings, at: start, memory)
        try space.write(
            block.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }, at: pointer, memory)
        return (pointer, addresses.last ?? pointer)
    }

    /// - Parameter addresses: those of the arguments, the environment, the path, the platform's name and the random bytes.
    private func words(_ addresses: [UInt64]) -> [UInt64] {
        let (arguments, rest) = (
            addresses.prefix(program.arguments.count), addresses.dropFirst(program.arguments.count)
        )
        let environment = rest.prefix(program.environment.count)
        let own = Array(rest.dropFirst(program.environment.count))
        let entries = auxiliary.entries(random: own[2], platform: own[1], name: own[0])
        return [UInt64(program.arguments.count)] + arguments + [0] + environment + [0]
            + entries.flatMap { [$0.0.rawValue, $0.1] }
    }
}
