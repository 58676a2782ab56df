// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What lies where in guest memory when a job starts. What is in none of the regions is zero and nobody's.
public struct MemoryMap: Sendable, Hashable {
    /// Some bytes of guest memory.
    public struct Region: Sendable, Hashable {
        /// Whose they are. The raw values are the names in JSON.
        public enum Role: String, Sendable, Hashable, CaseIterable {
            /// A part of the image, byte for byte.
            case image
            /// Zeros that the image counts as its own: its .bss.
            case zeros
            /// Memory that the image will use before it looks at what else is there.
            case workspace
            /// A module, or an initial RAM disk.
            case module
            /// A text that the image is passed.
            case text
            /// What a boot loader tells a kernel, or the processor reads: tables.
            case structure
            /// A stack to start with.
            case stack
        }

        /// The address of the first byte.
        public let address: UInt64
        /// How many bytes; never 0, and the last of them is in guest memory.
        public let count: UInt64
        /// Whose they are.
        public let role: Role
        /// What they are, for people.
        public let name: String
        /// What they hold: nothing for zeros, else as many as there are.
        public let bytes: ArraySlice<UInt8>

        /// The first address behind them.
        public var end: UInt64 { address + count }
    }

    /// Bytes of guest memory.
    public let memoryBytes: UInt64
    /// By rising address, none over another.
    public private(set) var regions: [Region] = []

    init(memoryBytes: UInt64) { self.memoryBytes = memoryBytes }

    /// Memory that an image asks for by address.
    struct Claim {
        var name: String
        var address: UInt64
        /// How many bytes in all; of 0 nothing is asked.
        var count: UInt64
        /// The first of them; zeros follow.
        var bytes: ArraySlice<UInt8>
        var role = Region.Role.image
        /// The field that says the address, and where in the file it is.
        var field: (name: String, offset: UInt64?)
    }

    /// Gives an image what it asks for.
    mutating func add(_ claim: Claim) throws(LaunchError) {
        guard claim.count > 0 else { return }
        try check(claim)
        let filled = min(UInt64(claim.bytes.count), claim.count)
        if filled > 0 {
            insert(
                Region(
                    address: claim.address, count: filled, role: claim.role, name: claim.name,
                    bytes: claim.bytes.prefix(Int(filled))))
        }
        guard claim.count > filled else { return }
        let isImage = claim.role == .image
        insert(
            Region(
                address: claim.address + filled, count: claim.count - filled, role: isImage ? .zeros : claim.role,
                name: isImage ? "zeros of \(claim.name)" : claim.name, bytes: []))
    }

    private func check(_ claim: Claim) throws(LaunchError) {
        let (field, address) = (claim.field, claim.address)
        let what = "\(claim.name), \(claim.count) bytes at \(address.hexadecimal)"
        let end = address.addingReportingOverflow(claim.count)
        guard !end.overflow, end.partialValue <= memoryBytes else {
            throw LaunchError(
                .outsideMemory, field.name, address, at: field.offset,
                "\(what), ends behind guest memory of \(memoryBytes) bytes")
        }
        if let other = regions.first(where: { $0.address < end.partialValue && $0.end > address }) {
            throw LaunchError(
                .overlap, field.name, address, at: field.offset,
                "\(what), covers \(other.name) at \(other.address.hexadecimal)")
        }
    }

    mutating func insert(_ region: Region) {
        let index = regions.firstIndex { $0.address > region.address } ?? regions.endIndex
        regions.insert(region, at: index)
    }

    // MARK: Reading

    /// The first address behind all regions.
    var end: UInt64 { regions.last?.end ?? 0 }

    /// The region that an address is in.
    func region(at address: UInt64) -> Region? {
        regions.first { $0.address <= address && address < $0.end }
    }
}
