// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobScheduling
import Testing

@testable import Worker

@Suite struct KeptMachinesTests {
    private let keys = (1...9).map { JobKey(UInt64($0)) }

    @Test func `each bound refuses one machine more, and takes one again when one has gone`() {
        var kept = KeptMachines<String>(limits: .init(machines: 3, machinesPerOwner: 2, memoryBytes: 100))
        func keep(_ key: Int, of owner: String, _ memoryBytes: UInt64) -> Bool {
            kept.keep(keys[key], of: owner, memoryBytes: memoryBytes)
        }
        #expect(keep(0, of: "a", 10) && keep(1, of: "a", 10))
        #expect(!keep(2, of: "a", 10), "two of one owner")
        #expect(!keep(2, of: "b", 81), "more memory than is left")
        #expect(keep(2, of: "b", 80), "all that is left")
        kept.release(keys[1])
        #expect(kept.count == 2 && kept.memoryBytes == 90)
        #expect(keep(3, of: "a", 1))
        #expect(!keep(4, of: "c", 1), "three in all")
        for key in keys { kept.release(key) }
        #expect(kept.count == 0 && kept.memoryBytes == 0)
        #expect(!keep(5, of: "d", .max), "no sum overflows")
    }
}
