// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
public import JobModel
public import KVM

extension LinuxProcess {
    /// A program in memory, ready for its first instruction.
    public struct Started: Sendable {
        /// The process.
        public var process: LinuxProcess
        /// What its vCPU starts with.
        public var registers: Registers
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        public var system: SystemRegisters
    }

    /// Brings a program into memory that holds nothing yet, with the pages that the processor needs besides.
    ///
    /// - Parameters:
    ///   - files: its files, the lowest tree first.
    ///   - scratchBytes: the most bytes that it may have written to files at once.
    ///   - seed: what its random bytes are made from: 32 bytes.
    ///   - moment: what its clocks say now.
    /// - Throws: ``ProgramError`` for a program that cannot be started.
    public static func start(
        _ program: Program, files: [FileTree], scratchBytes: Int, seed: [UInt8], at moment: Moment,
        in memory: borrowing GuestMemory
    ) throws(ProgramError) -> Started {
        var process = LinuxProcess(space: AddressSpace(in: memory))
        process.moment = moment
        process.random = RandomStream(seed: seed)
        var limits = OverlayTree.Limits()
        limits.bytes = scratchBytes
        process.files = ProcessFiles(tree: OverlayTree(layers: files, limits: limits, at: process.now))
        try process.mapProgramArea(memory)
        let start = try process.load(program, memory)
        var registers = Registers()
        (registers.rip, registers.rsp, registers.rflags) = (start.entry, start.stackPointer, Self.firstFlags)
        return Started(
            process: process, registers: registers, system: ProgramArea.systemRegisters(root: AddressLayout.root))
    }

    /// RFLAGS as Linux starts a program with it: interrupts on, and the bit that is always one.
    private static let firstFlags: UInt64 = 0x202
    /// Bytes that `AT_RANDOM` points to.
    static let startRandomBytes = 16

    /// Gives the process other random bytes: those that it will ask for, and those that were put on its stack at the start. For a
    /// process of which there are copies that must not have the same.
    ///
    /// - Parameter seed: 32 bytes.
    public mutating func reseed(_ seed: [UInt8], _ memory: borrowing GuestMemory) {
        random = RandomStream(seed: seed)
        guard let address = startRandomAddress else { return }
        // What is there can be written, as it was when the process started.
        try? space.write(random.bytes(Self.startRandomBytes), at: address, memory)
    }

    private mutating func mapProgramArea(_ memory: borrowing GuestMemory) throws(ProgramError) {
        var isComplete = ProgramArea.pieces.allSatisfy { memory.write($0.bytes, at: $0.address) }
        let parts: [([Range<UInt64>], SystemPageRights)] = [
            (ProgramArea.data, .supervisorData), (ProgramArea.code, .supervisorCode), (ProgramArea.userCode, .userCode),
            (ProgramArea.userData, .userData), (ProgramArea.userScratch, .userScratch),
        ]
        for (ranges, rights) in parts {
            for page in ranges.flatMap({ stride(from: $0.lowerBound, to: $0.upperBound, by: 4096) }) {
                let physical = ProgramArea.physicalAddress(of: page)
                isComplete = space.mapSystemPage(page, to: physical, rights, memory) && isComplete
            }
        }
        guard isComplete else { throw ProgramError(.enomem, "the job's memory has no room for a program") }
    }
}
