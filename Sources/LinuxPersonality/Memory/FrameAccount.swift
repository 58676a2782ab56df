// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Who has a claim to which share of the frames.
///
/// Linux grants nearly all memory that is asked for and finds out later whether it is there; a program that uses too much is killed.
/// Here, too, a program may ask for much more than it uses, but one that asks for what is plainly not there is told so, which it
/// can handle. The rule, in the order of what is asked for:
///
/// | asked for | frames | refused with `ENOMEM` |
/// |---|---|---|
/// | no right to write, `MAP_NORESERVE`, `MAP_STACK`, `MAP_GROWSDOWN` | when touched | never |
/// | at most an eighth of all frames, while at most half of all are set aside and unused | set aside | if what is in use and what is asked for are more than there is |
/// | more | when touched | likewise |
/// | more, in place of what the program has reserved without rights | when touched | never: it has its own plans for its reservation |
///
/// So `malloc` gives NULL as soon as memory is used up, runtimes that reserve by the gigabyte and stacks by the hundred cost what
/// they touch, and ordinary heaps have their frames before they touch them. Who touches memory when no frame is free gets those
/// that were set aside for others; where there are none either the program dies, as on Linux.
struct FrameAccount: Sendable {
    private var allocator: FrameAllocator
    /// Pages for which a frame is set aside or in use.
    private(set) var charged = 0
    /// Those of them that have theirs.
    private(set) var chargedBacked = 0
    /// Frames that page tables may take: an eighth of all. A table serves 512 pages, so that programs that use memory in pieces of
    /// 32 KiB and more do not come near it.
    let tableLimit: Int
    private(set) var tables = 0
    /// The most frames that were in use at once.
    private(set) var peak = 0
    /// How often something was refused for want of frames.
    private(set) var refusals: UInt64 = 0

    /// - Parameter frames: their numbers.
    init(_ frames: Range<UInt32>) {
        allocator = FrameAllocator(frames)
        tableLimit = frames.count / 8
    }

    /// The most pages of one region that frames are set aside for: an eighth of all frames.
    var largestCharge: Int { total / 8 }
    /// Frames that are set aside and not in use.
    var promised: Int { charged - chargedBacked }

    /// Whether frames are set aside for a region, so many of whose pages have none.
    func mayCharge(_ pages: Int, missing: Int) -> Bool {
        pages <= largestCharge && missing <= available && promised + missing <= total / 2
    }

    /// Whether there is so much that pages may come in before they are used: half of all frames is free.
    var isPlentiful: Bool { free > total / 2 }

    /// Frames there are.
    var total: Int { allocator.total }
    /// Frames that are in use.
    var used: Int { total - allocator.freeCount }
    /// Frames that are not in use, whoever has a claim to them.
    var free: Int { allocator.freeCount }
    /// Frames that nobody has a claim to.
    var available: Int { allocator.freeCount - promised }

    /// Sets frames aside for so many pages, `backed` of which have one already.
    mutating func charge(_ pages: Int, backed: Int = 0) -> Bool {
        guard pages - backed <= available else {
            noteRefusal()
            return false
        }
        charged += pages
        chargedBacked += backed
        return true
    }

    /// Gives up the claim for pages that have no frame any more.
    mutating func discharge(_ pages: Int) { charged -= pages }

    /// Gives up the claim for pages of which some have their frame, and keep it.
    mutating func uncharge(_ pages: Int, backed: Int) {
        charged -= pages
        chargedBacked -= backed
    }

    /// The next frames in a row, at most so many: out of those set aside if they are for charged pages.
    mutating func take(atMost count: Int, charged: Bool) -> FrameRun? {
        let bound = charged ? count : min(count, available)
        guard let run = allocator.take(atMost: bound) else { return nil }
        if charged { chargedBacked += Int(run.count) }
        peak = max(peak, used)
        return run
    }

    /// Takes frames back, which are zeros. The claim of charged pages to one stays.
    mutating func giveBack(_ run: FrameRun, charged: Bool) {
        allocator.giveBack(run)
        if charged { chargedBacked -= Int(run.count) }
    }

    /// A frame for a page table.
    mutating func takeTable() -> UInt32? {
        guard tables < tableLimit, let run = take(atMost: 1, charged: false) else { return nil }
        tables += 1
        return run.first
    }

    /// From here on it is known that something failed for want of frames.
    mutating func noteRefusal() { refusals &+= 1 }
}
