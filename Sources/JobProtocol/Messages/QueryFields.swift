// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What a QUERY asks for and an ANSWER tells of. The raw values are the numbers on the wire.
enum Topic: UInt8 {
    case worker = 1, tenants, jobs, counters, detached
}

extension Query {
    private enum Tag: UInt16 { case what = 0x8001, after }

    var topic: Topic {
        switch self {
        case .worker: .worker
        case .tenants: .tenants
        case .jobs: .jobs
        case .counters: .counters
        case .detached: .detached
        }
    }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .query)
        var (what, after): (Topic?, UInt64?)
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .what: what = try field.known()
            case .after: after = try field.integer()
            case nil: try field.skip()
            }
        }
        guard let what else { throw fields.missing(Tag.what) }
        switch (what, after) {
        case (.tenants, let after?):
            guard let user = UInt32(exactly: after) else {
                throw fields.badValue(Tag.after, "is \(after); users' numbers have 4 bytes")
            }
            self = .tenants(after: Tenant(wire: user))
        case (.tenants, nil): self = .tenants(after: nil)
        case (.jobs, let after): self = .jobs(after: after)
        case (.detached, let after): self = .detached(after: after)
        case (.worker, nil): self = .worker
        case (.counters, nil): self = .counters
        case (.worker, _), (.counters, _):
            throw fields.badValue(Tag.after, "goes with tenants, jobs and detached jobs, and with nothing else")
        }
    }

    var frame: Frame {
        var fields = FieldWriter(.query, job: 0, capacity: 32)
        fields.put(Tag.what, topic.rawValue)
        switch self {
        case .worker, .counters: break
        case .tenants(let after): fields.put(Tag.after, after.map { UInt64($0.wire) })
        case .jobs(let after), .detached(let after): fields.put(Tag.after, after)
        }
        return fields.finish()
    }
}

extension Tenant {
    /// The number of all whose user the kernel cannot name: no user has it.
    private static let unnamedNumber = UInt32.max

    init(wire number: UInt32) { self = number == Self.unnamedNumber ? .unnamed : .user(number) }

    /// The number on the wire, in which tenants have the order that they have here.
    var wire: UInt32 {
        switch self {
        case .user(let number): number
        case .unnamed: Self.unnamedNumber
        }
    }
}
