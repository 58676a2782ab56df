// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What `kvmjob submit` has to tell about one job when nothing more will come from it.
struct JobReport: Sendable, Hashable {
    /// The image as the user named it: a path, `-`, or the text behind `--hex`.
    var image: String
    /// The job's name in output and verdict, such as `boot.bin#3`.
    var name: String
    /// The worker's own number for it, where it was accepted.
    var id: UInt64?
    var end: JobEnd
    /// The console output, empty where it was streamed instead.
    var output = BoundedList<UInt8>(limit: JobReport.outputLimit)
    /// What a Linux program wrote to its standard error, where it was not passed on.
    var errors = BoundedList<UInt8>(limit: JobReport.outputLimit)
    /// Whether both went to files instead, so that nothing here tells of them.
    var isOutputElsewhere = false
    var portWrites = BoundedList<PortWrite>(limit: JobReport.portWriteLimit)
    /// A ``JobDescription`` as JSON, where the job is to be run again.
    var job: [UInt8]?
    /// How the guest was started.
    var mode = GuestMode.real16
    /// Linear addresses, one of which is that of the guest's first instruction.
    var entries: [UInt64] = []
    /// The windows of memory that were asked for; nil where nobody asked, or where there is no memory to show.
    var dumps: [MemoryDump]?
    /// The text screen, likewise.
    var screen: TextScreen?

    /// The most bytes of a job's output that a report holds: 64 MiB.
    static let outputLimit = 64 << 20
    /// The most port writes that a report holds: 65,536.
    static let portWriteLimit = 65_536
}

/// How a job ended, as seen from here.
enum JobEnd: Sendable, Hashable {
    /// The worker ran it, or at least took it.
    case ended(JobResult)
    /// It never was a job.
    case refused(Rejection)
    /// Nobody knows: the connection broke before its result.
    case lost(String)

    /// The stable name in JSON: an outcome's, or `refused`, or `lost`.
    var name: String {
        switch self {
        case .ended(let result): result.outcome.name
        case .refused: "refused"
        case .lost: "lost"
        }
    }
}

/// Why an image did not become a job.
struct Rejection: Error, Sendable, Hashable {
    /// The wire's name of the rule that was broken, or `image-unreadable` where the image never left this machine.
    var code: String
    /// What was wrong and what would be right.
    var message: String
    var limit: UInt64?
    var value: UInt64?
    /// Whether the same submission can succeed later.
    var isRetryable = false
    /// The worker's setting that the limit is the value of.
    var limitName: String?
    /// An estimate of the time after which the same submission may be accepted.
    var retryNanoseconds: UInt64?

    /// An image that could not be read here.
    static func unreadable(_ message: String) -> Rejection { Rejection(code: "image-unreadable", message: message) }

    /// A snapshot lives as long as its worker, and a detached job longer.
    static let snapshotDetached = Rejection(
        code: "invalid-field", message: "a job from a snapshot cannot be handed over")
}

/// The first elements of a stream, up to a limit.
struct BoundedList<Element: Sendable & Hashable>: Sendable, Hashable {
    let limit: Int
    private(set) var elements: [Element] = []
    /// Whether anything was dropped.
    private(set) var isTruncated = false

    init(limit: Int) { self.limit = limit }

    mutating func append(_ more: some Collection<Element>) {
        let kept = more.prefix(limit - elements.count)
        elements += kept
        isTruncated = isTruncated || kept.count < more.count
    }
}
