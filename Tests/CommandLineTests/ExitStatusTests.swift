// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import kvmjob

@Suite struct ExitStatusTests {
    private static let halted = ended(.halted)
    private static let failed = ended(.exited(code: 3))
    private static let exhausted = ended(.exhausted(.steps, limit: 5, used: 5))
    private static let refused = JobEnd.refused(.unreadable("no such file"))
    private static let broken = ended(.hostError("no memory"))

    private static func status(_ ends: [JobEnd]) -> Int32 {
        var status = ExitStatus(isOnlyJob: ends.count == 1)
        for end in ends { status.add(end) }
        return status.code
    }

    private static func ended(_ outcome: Outcome) -> JobEnd { .ended(JobResult(outcome: outcome)) }

    @Test func `of a snapshot to be taken only that is a success`() throws {
        let name = try #require(ContentDigest([UInt8](repeating: 1, count: 32)))
        let ends: [(JobEnd, Int32)] = [
            (Self.ended(.snapshotTaken(name)), 0), (Self.halted, 1), (Self.ended(.exited(code: 0)), 1),
            (Self.failed, 1),
            (Self.ended(.exited(code: 125)), 1), (Self.exhausted, 124), (Self.refused, 126), (Self.broken, 125),
        ]
        for (end, code) in ends {
            var status = ExitStatus(isOnlyJob: true, takesSnapshot: true)
            status.add(end)
            #expect(status.code == code, "\(end)")
        }
    }

    @Test(arguments: [(0, 0), (3, 3), (255, 255), (256, 0), (.max, 255)] as [(UInt32, Int32)])
    func `one job's exit code is the status, as far as a status goes`(code: UInt32, status: Int32) {
        #expect(Self.status([Self.ended(.exited(code: code))]) == status)
    }

    @Test(arguments: [
        (Outcome.halted, Int32(0)), (.tripleFault, 1), (.cancelled(by: .client), 1), (.cancelled(by: .drain), 125),
        (.faulted(Fault(vector: 14, errorCode: 2, address: 0, rip: 0)), 1),
        (.unemulatable(Unemulatable(rip: nil, bytes: [])), 1), (.exhausted(.wallTime, limit: 1, used: 1), 124),
        (.waitExpired(limit: 1), 124), (.hostError(""), 125),
    ])
    func `each outcome has its status`(outcome: Outcome, status: Int32) {
        #expect(Self.status([Self.ended(outcome)]) == status)
    }

    @Test func `a refusal is 126 and a lost job is 125`() {
        #expect(Self.status([Self.refused]) == 126)
        #expect(Self.status([.lost("gone")]) == 125)
    }

    @Test func `of several jobs the worst counts`() {
        #expect(Self.status([Self.halted, Self.ended(.exited(code: 0))]) == 0)
        #expect(Self.status([Self.failed, Self.halted]) == 1)
        #expect(Self.status([Self.halted, Self.ended(.exited(code: 256))]) == 1)
        #expect(Self.status([Self.exhausted, Self.failed]) == 124)
        #expect(Self.status([Self.exhausted, Self.refused, Self.halted]) == 126)
        #expect(Self.status([Self.broken, Self.refused, Self.exhausted]) == 125)
    }
}
