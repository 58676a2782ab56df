// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Why a worker takes no more jobs. The raw values are the numbers on the wire.
public enum GoAwayReason: UInt8, Sendable, Hashable, CaseIterable {
    /// It is shutting down.
    case drain = 1
    /// It has had nothing to do.
    case idle = 2
}

/// The worker takes no more jobs on this connection; those accepted still get their RESULT.
public struct GoAway: Sendable, Hashable {
    /// Why.
    public var reason: GoAwayReason
    /// The highest job that was accepted on this connection; 0 is none.
    public var lastJob: UInt32?

    /// A message with its parts.
    public init(_ reason: GoAwayReason, lastJob: UInt32? = nil) { (self.reason, self.lastJob) = (reason, lastJob) }

    private enum Tag: UInt16 { case reason = 0x0001, lastJob }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .goAway)
        var reason: GoAwayReason?
        var lastJob: UInt32?
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .reason: reason = try field.known()
            case .lastJob: lastJob = try field.integer()
            case nil: try field.skip()
            }
        }
        guard let reason else { throw fields.missing(Tag.reason) }
        self.init(reason, lastJob: lastJob)
    }

    var frame: Frame {
        var fields = FieldWriter(.goAway, job: 0)
        fields.put(Tag.reason, reason.rawValue)
        fields.put(Tag.lastJob, lastJob)
        return fields.finish()
    }
}
