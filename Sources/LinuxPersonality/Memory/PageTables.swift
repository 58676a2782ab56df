// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// An entry of the processor's lowest page table.
///
/// One that has a frame is never 0, even if it allows nothing.
struct PageEntry: Hashable {
    let bits: UInt64

    private static let present: UInt64 = 1
    private static let writable: UInt64 = 1 << 1
    private static let user: UInt64 = 1 << 2
    /// Accessed and dirty from the start, so that the processor never writes to the tables.
    private static let touched: UInt64 = 3 << 5
    /// A bit that the processor ignores: the entry has a frame.
    private static let held: UInt64 = 1 << 9
    private static let noExecute: UInt64 = 1 << 63
    private static let addressMask: UInt64 = 0x000F_FFFF_FFFF_F000

    init(bits: UInt64) { self.bits = bits }

    /// A page of the program's.
    init(frame: UInt32, _ protection: Protection) {
        var bits = UInt64(frame) << 12 | Self.held
        if !protection.isEmpty { bits |= Self.present | Self.user | Self.touched }
        if protection.contains(.write) { bits |= Self.writable }
        if !protection.contains(.execute) { bits |= Self.noExecute }
        self.bits = bits
    }

    /// A page of the system area.
    init(system address: UInt64, _ rights: SystemPageRights) {
        switch rights {
        case .supervisorCode: bits = address | Self.present | Self.touched
        case .supervisorData: bits = address | Self.present | Self.touched | Self.writable | Self.noExecute
        case .userCode: bits = address | Self.present | Self.touched | Self.user
        case .userData: bits = address | Self.present | Self.touched | Self.user | Self.noExecute
        case .userScratch:
            bits = address | Self.present | Self.touched | Self.user | Self.writable | Self.noExecute
        }
    }

    /// An entry of a higher table, which leaves rights to the lowest.
    static func table(at address: UInt64) -> UInt64 { address | present | writable | user | touched }

    /// Where the next table is; nil if there is none.
    static func table(in bits: UInt64) -> UInt64? { bits & present != 0 ? bits & addressMask : nil }

    var hasFrame: Bool { bits & Self.held != 0 }
    /// Only the low 32 bits of a frame's number are ever set.
    var frame: UInt32 { UInt32(truncatingIfNeeded: (bits & Self.addressMask) >> 12) }
    /// The frame's guest physical address.
    var address: UInt64 { UInt64(frame) * GuestMemory.pageBytes }
    var isPresent: Bool { bits & Self.present != 0 }

    /// Whether this entry allows something that another one does not.
    func allowsMore(than other: PageEntry) -> Bool {
        guard isPresent else { return false }
        guard other.isPresent else { return true }
        return bits & Self.writable & ~other.bits != 0 || ~bits & other.bits & Self.noExecute != 0
    }
}

/// Who may do what with a page of the system area.
enum SystemPageRights: Sendable, Hashable {
    case supervisorCode, supervisorData
    /// The program may read and execute it.
    case userCode
    /// The program may read it.
    case userData
    /// The program may read and write it.
    case userScratch
}

/// Four-level page tables in guest memory, by which the processor finds a program's pages. They are themselves the only record of
/// which pages are there: the program cannot reach them.
///
/// A table that is linked stays for good: processors and KVM remember upper levels.
struct PageTables: Sendable {
    /// Where the highest table is: what CR3 holds.
    let root: UInt64
    /// What one of the lowest tables covers: 2 MiB.
    static let leafBytes: UInt64 = 2 << 20
    private static let shifts: [3 of UInt64] = [39, 30, 21]

    init(root: UInt64) { self.root = root }

    /// Addresses in a row whose entries lie in a row in one of the lowest tables.
    struct Leaf {
        var addresses: Range<UInt64>
        /// Where the first entry is.
        var entries: UInt64
        var pages: Int { addresses.count / Int(GuestMemory.pageBytes) }

        fileprivate init(table: UInt64, from address: UInt64, below end: UInt64) {
            entries = table + (address >> 12 & 511) * 8
            addresses = address..<min(end, PageTables.end(of: 21, at: address))
        }
    }

    /// Where what an entry covers that is so high up ends, behind an address in it.
    private static func end(of shift: UInt64, at address: UInt64) -> UInt64 { (address >> shift + 1) << shift }

    private static func slot(_ table: UInt64, _ shift: UInt64, _ address: UInt64) -> UInt64 {
        table + (address >> shift & 511) * 8
    }

    // MARK: Reading

    /// The entry of a page; one without a frame where there is no table.
    func entry(of address: UInt64, _ memory: borrowing GuestMemory) -> PageEntry {
        var table = root
        for level in 0..<3 {
            let bits = memory.word(at: Self.slot(table, Self.shifts[level], address)) ?? 0
            guard let next = PageEntry.table(in: bits) else { return PageEntry(bits: 0) }
            table = next
        }
        return PageEntry(bits: memory.word(at: Self.slot(table, 12, address)) ?? 0)
    }

    /// The first entries from an address on, and below an end, that have a table.
    ///
    /// What is not there is passed over by the largest steps that the tables allow: 512 GiB where the highest says so.
    func nextLeaf(from start: UInt64, below end: UInt64, _ memory: borrowing GuestMemory) -> Leaf? {
        var address = start
        search: while address < end {
            var table = root
            for level in 0..<3 {
                let shift = Self.shifts[level]
                let bits = memory.word(at: Self.slot(table, shift, address)) ?? 0
                guard let next = PageEntry.table(in: bits) else {
                    address = Self.end(of: shift, at: address)
                    continue search
                }
                table = next
            }
            return Leaf(table: table, from: address, below: end)
        }
        return nil
    }

    // MARK: Writing

    /// The entries from an address on, up to an end or that of the table, which is made if need be; nil, with some of the upper
    /// tables made perhaps, if there is no frame for it.
    func leaf(
        at address: UInt64, below end: UInt64, _ memory: borrowing GuestMemory, from frames: inout FrameAccount
    ) -> Leaf? {
        var table = root
        for level in 0..<3 {
            let slot = Self.slot(table, Self.shifts[level], address)
            if let next = PageEntry.table(in: memory.word(at: slot) ?? 0) {
                table = next
                continue
            }
            guard let frame = frames.takeTable() else { return nil }
            table = UInt64(frame) << 12
            guard memory.setWord(PageEntry.table(at: table), at: slot) else { return nil }
        }
        return Leaf(table: table, from: address, below: end)
    }

    /// Puts an entry in its place; false if there is no frame for a table.
    func set(
        _ entry: PageEntry, of address: UInt64, _ memory: borrowing GuestMemory, from frames: inout FrameAccount
    ) -> Bool {
        guard let leaf = leaf(at: address, below: address + 1, memory, from: &frames) else { return false }
        return memory.setWord(entry.bits, at: leaf.entries)
    }
}
