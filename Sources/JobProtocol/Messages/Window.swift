// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// More credit for a stream of a job.
public struct Window: Sendable, Hashable {
    /// Bytes added to the credit, 1 to 2^31-1.
    public var credit: UInt32

    /// A message with its credit.
    public init(credit: UInt32) { self.credit = credit }

    private enum Tag: UInt16 { case credit = 0x0001 }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .window)
        var credit: UInt32?
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .credit: credit = try field.integer(in: 1...Hello.largestWindow)
            case nil: try field.skip()
            }
        }
        guard let credit else { throw fields.missing(Tag.credit) }
        self.credit = credit
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter(.window, job: job)
        fields.put(Tag.credit, credit)
        return fields.finish()
    }
}
