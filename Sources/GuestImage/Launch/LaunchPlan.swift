// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// How an image of any format is started: what goes where in guest memory, and what the vCPU begins with.
///
/// Made by the client, of bytes that anybody may have written, so that no worker reads a header: to a worker it is pieces of memory
/// and first values of registers, as in any other job.
public struct LaunchPlan: Sendable, Hashable {
    /// Something that the image says of itself, for people.
    public struct Fact: Sendable, Hashable {
        /// What it is about.
        public let name: String
        /// What it says.
        public let text: String

        init(_ name: String, _ text: String) { (self.name, self.text) = (name, text) }
    }

    /// What an image wants of a machine beside memory and a processor. The raw values are the names in JSON.
    public enum Need: String, Sendable, Hashable, CaseIterable {
        /// A PC's interrupt controllers, timers and serial port.
        case board = "pc-board"
        /// Memory below 4 GiB and below 1 MiB that cannot be written.
        case readOnlyMemory = "read-only-memory"

        /// For people.
        public var description: String {
            switch self {
            case .board: "a PC's interrupt controllers and timers"
            case .readOnlyMemory: "memory that cannot be written, below 4 GiB"
            }
        }
    }

    /// What the image is taken as.
    public let format: ImageFormat
    /// The mode that the vCPU starts in.
    public let mode: GuestMode
    /// What lies where.
    public let map: MemoryMap
    /// The first instruction: in `real16` an offset in CS, else a physical address.
    public let entryPoint: UInt64
    /// First values of general registers, of those that the boot protocol sets.
    public let registers: [RegisterName: UInt64]
    /// First values of segment registers, where they are not the mode's own.
    public internal(set) var segments: [SegmentName: Segment]
    /// First values of GDTR and IDTR, likewise.
    public let tables: [TableName: DescriptorTable]
    /// First values of control registers, likewise.
    public let controls: [ControlName: UInt64]
    /// Firmware, which is in no guest memory.
    public internal(set) var rom: ROMImage?
    /// The least guest memory with which the image could be started like this.
    public internal(set) var leastMemoryBytes: UInt64
    /// What it wants beside memory and a processor, as far as its format tells.
    public internal(set) var needs: [Need] = []
    /// What the image says of itself.
    public internal(set) var facts: [Fact]
    /// What its owner may not know.
    public internal(set) var notes: [String] = []

    /// Bytes of guest memory.
    public var memoryBytes: UInt64 { map.memoryBytes }

    init(
        format: ImageFormat, mode: GuestMode, map: MemoryMap, entryPoint: UInt64, registers: [RegisterName: UInt64],
        start: StartTables?, facts: [Fact]
    ) {
        (self.format, self.mode, self.map, self.entryPoint) = (format, mode, map, entryPoint)
        (self.registers, self.facts) = (registers, facts)
        (segments, tables, controls) = (start?.segments ?? [:], start?.tables ?? [:], start?.controls ?? [:])
        leastMemoryBytes = max(Self.wholePages(map.end), GuestLayout.minimumMemoryBytes)
    }

    static func wholePages(_ bytes: UInt64) -> UInt64 {
        (bytes + GuestLayout.pageBytes - 1) & ~(GuestLayout.pageBytes - 1)
    }
}

extension LaunchPlan {
    /// Guest memory of Linux where nobody names it: 256 MiB, as a program for Linux has.
    public static let linuxMemoryBytes: UInt64 = 256 << 20

    /// Decides how an image is started.
    ///
    /// Where the options name no memory, it is doubled until the image fits, up to the most that a guest can have.
    ///
    /// - Throws: what of the image or the options is wrong.
    public init(_ image: [UInt8], _ options: LaunchOptions = LaunchOptions()) throws(LaunchError) {
        try options.check()
        let format = options.format ?? ImageFormat(recognising: image)
        var memory = options.memoryBytes ?? (format == .linux ? Self.linuxMemoryBytes : JobSpec.defaultMemoryBytes)
        while options.memoryBytes == nil, memory < GuestLayout.maximumMemoryBytes {
            do throws(LaunchError) {
                self = try Self.plan(image, as: format, options, memoryBytes: memory)
                return
            } catch {
                guard error.isOfMemory else { throw error }
                memory *= 2
            }
        }
        self = try Self.plan(image, as: format, options, memoryBytes: memory)
    }

    private static func plan(
        _ image: [UInt8], as format: ImageFormat, _ options: LaunchOptions, memoryBytes: UInt64
    ) throws(LaunchError) -> LaunchPlan {
        let plan = try unchecked(image, as: format, options, memoryBytes: memoryBytes)
        try plan.checkPieces()
        return plan
    }

    private static func unchecked(
        _ image: [UInt8], as format: ImageFormat, _ options: LaunchOptions, memoryBytes: UInt64
    ) throws(LaunchError) -> LaunchPlan {
        let bytes = ImageBytes(image)
        return switch format {
        case .flat: try PlainLaunch.flat(image, options, memoryBytes: memoryBytes)
        case .bootSector: try PlainLaunch.bootSector(bytes, options, memoryBytes: memoryBytes)
        case .rom: try PlainLaunch.rom(bytes, options, memoryBytes: memoryBytes)
        case .elf: try BareLaunch.plan(bytes, options, memoryBytes: memoryBytes)
        case .multiboot: try MultibootLaunch.plan(bytes, options, memoryBytes: memoryBytes)
        case .pvh: try PVHLaunch.plan(bytes, options, memoryBytes: memoryBytes)
        case .linux: try LinuxLaunch.plan(bytes, options, memoryBytes: memoryBytes)
        }
    }
}
