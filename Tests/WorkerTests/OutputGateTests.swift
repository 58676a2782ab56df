// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import Worker

@Suite("The gate between a guest's output and the socket")
struct OutputGateTests {
    private func bytes(_ count: Int) -> [UInt8] { [UInt8](repeating: 7, count: count) }

    @Test("A guest is given no more than the client's credit")
    func credit() {
        var gate = OutputGate()
        #expect(gate.grant() == 0)
        #expect(gate.add(credit: 100).isEmpty)
        #expect(gate.grant() == 100)
        #expect(gate.grant() == 0)
    }

    @Test("However much credit there is, no more than the window is under way")
    func window() {
        var gate = OutputGate()
        _ = gate.add(credit: 1 << 30)
        #expect(gate.grant() == OutputGate.windowBytes)
        #expect(gate.pass(.console, bytes(1000)).count == 1000)
        #expect(gate.grant() == 0, "what was written is not on the socket yet")
        gate.flushed(1000)
        #expect(gate.grant() == 1000)
    }

    @Test("A guest's last bytes wait for credit, in order, and come out as it comes")
    func held() {
        var gate = OutputGate()
        _ = gate.add(credit: 10)
        #expect(gate.grant() == 10)
        #expect(gate.pass(.console, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
        #expect(gate.pass(.portWrites, [20, 21]).isEmpty)
        #expect(gate.isHolding)
        let first = gate.add(credit: 1)
        #expect(first.map(\.bytes) == [[11]])
        let rest = gate.add(credit: 5)
        #expect(rest.map(\.bytes) == [[12], [20, 21]])
        #expect(rest.map(\.channel) == [.console, .portWrites])
        #expect(!gate.isHolding)
        #expect(gate.grant() == 2, "three of the five were used")
    }

    @Test("Credit that was not given out serves a guest's last bytes")
    func undistributed() {
        var gate = OutputGate()
        _ = gate.add(credit: 10)
        #expect(gate.pass(.console, bytes(8)).count == 8)
        #expect(gate.grant() == 2)
    }
}
