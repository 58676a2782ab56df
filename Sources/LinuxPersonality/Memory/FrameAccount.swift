// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Who has a claim to which share of the frames.
///
/// What is charged has frames set aside until a fault asks for them; all else gets frames as long as there are more than that.
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

    /// Frames there are.
    var total: Int { allocator.total }
    /// Frames that are in use.
    var used: Int { total - allocator.freeCount }
    /// Frames that nobody has a claim to.
    var available: Int { allocator.freeCount - (charged - chargedBacked) }

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
