// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// `MAP_*`.
struct MapFlags: OptionSet, Sendable {
    let rawValue: UInt64

    static let fixed = MapFlags(rawValue: 0x10)
    static let anonymous = MapFlags(rawValue: 0x20)
    static let low = MapFlags(rawValue: 0x40)
    static let growsDown = MapFlags(rawValue: 0x100)
    static let noReserve = MapFlags(rawValue: 0x4000)
    static let populate = MapFlags(rawValue: 0x8000)
    static let stack = MapFlags(rawValue: 0x2_0000)
    static let hugePages = MapFlags(rawValue: 0x4_0000)
    static let fixedIfFree = MapFlags(rawValue: 0x10_0000)

    /// All that mean something, or once did.
    static let known: UInt64 = 0x1F_FD73

    /// `MAP_TYPE`.
    enum Kind: UInt64 {
        case isShared = 1
        case isPrivate = 2
        case sharedValidate = 3
    }

    var kind: Kind? { Kind(rawValue: rawValue & 15) }

    var placement: MapRequest.Placement {
        if contains(.fixedIfFree) { return .fixedIfFree }
        if contains(.fixed) { return .fixed }
        return contains(.low) ? .low : .anywhere
    }
}

/// `PROT_*` beyond ``Protection``.
enum ProtectFlags {
    static let growsDown: UInt64 = 0x100_0000
    static let growsUp: UInt64 = 0x200_0000
    /// `PROT_SEM` (8) is accepted and means nothing, as on Linux.
    static let known: UInt64 = 0xF | growsDown | growsUp
}

/// `MADV_*`, as far as a kernel without the rarer configurations knows it.
enum Advice: Int32 {
    case normal = 0
    case random = 1
    case sequential = 2
    case willNeed = 3
    case dontNeed = 4
    case free = 8
    case remove = 9
    case dontFork = 10
    case doFork = 11
    case mergeable = 12
    case unmergeable = 13
    case hugePage = 14
    case noHugePage = 15
    case dontDump = 16
    case doDump = 17
    case wipeOnFork = 18
    case keepOnFork = 19
    case cold = 20
    case pageOut = 21
    case populateRead = 22
    case populateWrite = 23
    case dontNeedLocked = 24
    case collapse = 25
}

extension AddressSpace {
    /// Does what `madvise` says about one region's part.
    mutating func follow(_ advice: Advice, _ part: Region, _ memory: borrowing GuestMemory) throws(Errno) {
        switch advice {
        case .dontNeed, .dontNeedLocked: discard(part, memory)
        case .free:
            // Linux waits with it until it needs the memory.
            guard part.file == nil else { throw .einval }
            discard(part, memory)
        case .remove:
            // A hole in what others share: of files that cannot be written, and of what nobody shares there is none.
            guard part.file == nil else { throw .eacces }
            guard part.traits.contains(.shared) else { throw .einval }
            discard(part, memory)
        case .collapse: throw .einval
        case .populateRead: try populate(part, for: .read, memory)
        case .populateWrite: try populate(part, for: .write, memory)
        case .wipeOnFork: guard part.file == nil, !part.traits.contains(.shared) else { throw .einval }
        case .normal, .random, .sequential, .willNeed, .dontFork, .doFork, .mergeable, .unmergeable, .hugePage,
            .noHugePage, .dontDump, .doDump, .keepOnFork, .cold, .pageOut:
            break
        }
    }
}
