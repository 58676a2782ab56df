// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// How a machine's memory is brought back between jobs.
public enum RestorePolicy: Sendable, Hashable {
    /// All of it goes back to the host, and the content is copied in anew: for a machine that runs one job, and where the pages
    /// that a job touches are counted.
    case giveBack
    /// All of it is copied or zeroed in one sweep.
    case wholeCopy
    /// KVM logs the pages that the guest writes and goes on logging them: what was written once stays writable, and is copied
    /// each time whether it was written again or not.
    ///
    /// `patience` is how many copies of a page in vain cost as much as write-protecting it. ``Capability/manualDirtyLog``.
    case stickyLog(patience: Int)
    /// KVM logs the pages that the guest writes, and write-protects them whenever the log is read.
    case clearingLog

    var isSticky: Bool {
        if case .stickyLog = self { return true }
        return false
    }

    var needsLog: Bool { isSticky || self == .clearingLog }
}

/// What bringing memory back costs on one machine, in nanoseconds: measured, since backends differ by orders of magnitude.
///
/// Hardware takes the fault of a write-protected page far more lightly than a backend that keeps shadow page tables.
public struct RestoreCosts: Sendable, Hashable {
    /// Whether there is a sticky log: ``Capability/manualDirtyLog``.
    public var hasStickyLog: Bool
    /// Copying or zeroing one page.
    public var pageCopy: UInt64
    /// Reading a log that has nothing in it.
    public var logReading: UInt64
    /// Write-protecting one page and taking the guest's next write to it.
    public var pageProtection: UInt64

    /// Pages that a job writes however little it does: stack, data, and page tables, whose accessed bits the processor sets.
    static let leastPagesWritten: UInt64 = 8
    /// Bounds on a sticky log's patience, so that a measurement that something disturbed does no great harm.
    static let patienceBounds = 2...256

    /// Costs with their parts.
    public init(hasStickyLog: Bool, pageCopy: UInt64, logReading: UInt64, pageProtection: UInt64) {
        self.hasStickyLog = hasStickyLog
        self.pageCopy = max(pageCopy, 1)
        self.logReading = logReading
        self.pageProtection = pageProtection
    }

    /// The cheapest way for a guest of this size whose jobs write little; for those that write much all are alike.
    public func policy(memoryBytes: UInt64) -> RestorePolicy {
        let whole = (memoryBytes / GuestMemory.pageBytes).multipliedReportingOverflow(by: pageCopy)
        let protection = hasStickyLog ? 0 : pageProtection
        let logged = logReading + Self.leastPagesWritten * (pageCopy + protection)
        if !whole.overflow, whole.partialValue <= logged { return .wholeCopy }
        guard hasStickyLog else { return .clearingLog }
        let patience = Int(min(pageProtection / pageCopy, UInt64(Self.patienceBounds.upperBound)))
        return .stickyLog(patience: max(patience, Self.patienceBounds.lowerBound))
    }
}
