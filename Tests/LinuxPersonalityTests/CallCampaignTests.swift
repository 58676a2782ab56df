// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import KVM
import SeededRandom
import Testing

@testable import LinuxPersonality

@Suite struct CallCampaignTests {
    /// Addresses and numbers that calls trip over.
    private static let hostile: [UInt64] = [
        0, 1, 2, 3, 8, 9, 10, 24, 64, 4096, .max, .max - 3, .max - 7, 1 << 63, 1 << 31, 1 << 32, 0x8000_0000_0000,
        AddressLayout.userEnd - 4, AddressLayout.systemArea.lowerBound - 4, Machine.nowhere, Machine.data.lowerBound,
        Machine.data.lowerBound + 1, Machine.data.upperBound - 4, Machine.data.lowerBound + 0x100, 0x3D_0F00,
    ]

    /// Calls by several threads, with arguments that make sense and such that make none. Whatever they are, the process goes on,
    /// sleeps or ends, and the registers are such as a processor can have.
    @Test(arguments: 0..<12 as Range<UInt64>)
    func `no call with any arguments does harm`(seed: UInt64) throws {
        var random = SplitMix64(state: seed)
        var machine = try Machine(bytes: 4 << 20)
        var (served, processes) = (0, 1)
        for _ in 0..<6000 {
            let call = try #require(SystemCall.allCases.randomElement(using: &random))
            var arguments = (0..<6).map { _ in Self.hostile.randomElement(using: &random) ?? 0 }
            if Int.random(in: 0..<4, using: &random) == 0 { arguments[0] = random.next() >> 40 }
            let isEnding = [.exit, .exitGroup, .kill, .tkill, .tgkill].contains(call)
            if isEnding, Int.random(in: 0..<20, using: &random) > 0 { continue }
            try machine.call(
                call, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5])
            served += 1
            for _ in 0..<3 {
                guard case .sleep(let end) = machine.course else { break }
                machine.process.supply([1, 2, 3], isEnd: false)
                try machine.sleep(end.map { $0 - min($0, machine.moment.monotonic) } ?? 1_000_000)
            }
            _ = machine.process.takeOutgoing()
            #expect(machine.processor.registers.rip < AddressLayout.userEnd, "\(call) \(arguments)")
            if machine.course != .run {
                machine = try Machine(bytes: 4 << 20)
                processes += 1
            } else if Int.random(in: 0..<4, using: &random) == 0 {
                try machine.preempt(after: 1_000)
            }
        }
        #expect(served > 4000 && processes < served / 4, "\(served) calls of \(processes) processes")
    }
}
