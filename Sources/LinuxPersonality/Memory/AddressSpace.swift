// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import KVM

/// The memory of a process: its regions, the page tables that say so to the processor, and the frames behind them.
///
/// Pages get a frame when they are first used: by the program, whose fault ``resolveFault(at:for:_:)`` answers, or by a system call
/// that copies. All of it lives in this value and in guest memory: copies of both are a copy of the process.
struct AddressSpace: Sendable {
    var regions = RegionList()
    var frames: FrameAccount
    let tables: PageTables
    /// Where `brk` starts from, and where it is now.
    var programBreak: (start: UInt64, end: UInt64) = (0, 0)
    /// Where the last fault's window ended, and how many pages it had: a fault that goes on there gets a larger one.
    var lastWindow: (end: UInt64, pages: Int) = (0, 0)
    /// What the host refused. Guest memory cannot be relied on from then on: the job has failed, by no fault of its own.
    private(set) var failure: KVMError?
    /// What has been done so far.
    var counts = Counts()

    /// What is worth counting.
    struct Counts: Sendable, Hashable {
        /// Faults that were asked about, system calls' own not included.
        var faults: UInt64 = 0
        /// Pages that were brought in.
        var pages: UInt64 = 0
        /// Calls to the host for frames to be given back or translations to be forgotten.
        var hostCalls: UInt64 = 0
    }

    /// The memory of a new process: nothing is mapped.
    ///
    /// - Parameters:
    ///   - memory: zeros from `reserved` on; all of that belongs to this value from here on.
    ///   - root: the guest physical address of the highest page table, below that.
    init(
        in memory: borrowing GuestMemory, root: UInt64 = AddressLayout.root,
        reserved: UInt64 = AddressLayout.reservedBytes
    ) {
        let first = reserved / GuestMemory.pageBytes
        let end = max(memory.bytes / GuestMemory.pageBytes, first)
        frames = FrameAccount(UInt32(first)..<UInt32(clamping: end))
        tables = PageTables(root: root)
    }

    /// How often something was refused because memory was used up: `ENOMEM`, or a fault without a frame. A program that dies after
    /// that probably died of it.
    var refusals: UInt64 { frames.refusals }

    /// Maps a page of the system area, where no region can be. False if there is no frame for its page table.
    mutating func mapSystemPage(
        _ address: UInt64, to physical: UInt64, _ rights: SystemPageRights, _ memory: borrowing GuestMemory
    ) -> Bool {
        precondition(AddressLayout.systemArea.contains(address) && address % GuestMemory.pageBytes == 0)
        return tables.set(PageEntry(system: physical, rights), of: address, memory, from: &frames)
    }

    // MARK: The host

    /// Gives frames back that no entry leads to any more, all of one kind.
    mutating func release(_ released: FrameRuns, charged: Bool, _ memory: borrowing GuestMemory) {
        for run in released.runs {
            guard empty(run, memory) else { continue }
            frames.giveBack(run, charged: charged)
        }
    }

    /// Makes frames zeros that stay where they are.
    @discardableResult
    mutating func empty(_ run: FrameRun, _ memory: borrowing GuestMemory) -> Bool {
        counts.hostCalls += 1
        do throws(KVMError) {
            try memory.giveBack(run.addresses)
            return true
        } catch {
            failure = failure ?? error
            return false
        }
    }

    /// Makes changed entries that lead to these frames, or led there, take effect.
    mutating func forget(_ changed: FrameRuns, _ memory: borrowing GuestMemory) {
        for run in changed.runs {
            counts.hostCalls += 1
            do throws(KVMError) {
                try memory.forgetTranslations(of: run.addresses)
            } catch {
                failure = failure ?? error
            }
        }
    }
}

/// Where things are in a process's memory, and in the guest's physical memory.
enum AddressLayout {
    /// Guest physical memory that holds the system area and the highest page table; frames begin behind it.
    static let reservedBytes: UInt64 = 0x2_0000
    /// Where the highest page table is.
    static let root: UInt64 = 0x1000

    /// What a program can map: from `vm.mmap_min_addr`, 64 KiB, to the system area.
    static let mappable: Range<UInt64> = 0x1_0000..<systemArea.lowerBound
    /// What the processor needs, out of the program's reach but for one page.
    static let systemArea: Range<UInt64> = ProgramArea.linear..<userEnd
    /// The end of a program's addresses: `TASK_SIZE`.
    static let userEnd: UInt64 = 0x7FFF_FFFF_F000
    /// The end of the first thread's stack.
    static let stackTop: UInt64 = 0x7FFF_FF00_0000
    /// `mmap` places regions below this, the last one lowest.
    static let mmapTop: UInt64 = 0x7FFF_7F00_0000
    /// What `MAP_32BIT` means.
    static let lowEnd: UInt64 = 0x8000_0000
    /// Where a position-independent program is loaded.
    static let programBias: UInt64 = 0x5555_5555_4000

    /// How large a region that grows down may get: 8 MiB, the usual `RLIMIT_STACK`.
    static let stackBytes: UInt64 = 8 << 20
    /// What stays free below such a region: 1 MiB, `stack_guard_gap`.
    static let stackGap: UInt64 = 1 << 20
    /// What the stack has at first.
    static let firstStackBytes: UInt64 = 256 << 10
}
