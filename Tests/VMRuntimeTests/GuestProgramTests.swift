// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

@Suite("Guest programs do what their sources say", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct GuestProgramTests {
    static let primes = (2..<1000).filter { n in !(2..<n).contains { n.isMultiple(of: $0) } }.map { "\($0)\n" }.joined()

    @Test(
        "They print",
        arguments: [
            ("add", "4\n"), ("hello", "hello\n"), ("boot-sector", "boot\n"), ("mode-switch", "rpl\n"),
            ("primes", primes), ("primes-user", primes), ("long64-ud2", "u"),
        ])
    func output(name: String, text: String) async throws {
        let guest = try GuestProgram.named(name)
        let run = try await Run.of(guest.image, guest.spec())
        #expect(run.text == text)
        #expect(try run.result.outcome.end == guest.end)
    }

    @Test(
        "A line comes back reversed, up to its newline or the end of the input",
        arguments: [("straw\nand more", "warts\n"), ("no newline", "enilwen on\n"), ("\n", "\n"), ("", "\n")])
    func reverse(input: String, text: String) async throws {
        let guest = try GuestProgram.named("reverse-line")
        let run = try await Run.of(guest.image, guest.spec(), input: Array(input.utf8))
        #expect(run.text == text)
        #expect(try run.result.outcome == .halted)
    }

    @Test("Input of 10,000 bytes comes back as it went in")
    func echo() async throws {
        let guest = try GuestProgram.named("echo")
        let input = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        let run = try await Run.of(guest.image, guest.spec(), input: input)
        #expect(run.console == input)
    }

    @Test("A guest that sets its own trap flag gets the exception")
    func trapFlag() async throws {
        let guest = try GuestProgram.named("user64-trap-flag")
        let result = try await Run.of(guest.image, guest.spec()).result
        #expect(result.outcome.end == guest.end)
    }
}

@Suite("Hostile guests end, and leave nothing", .enabled(if: Hardware.isThere, "no usable /dev/kvm"), .serialized)
struct HostileGuestTests {
    /// Those that end in a way of their own on one backend or another.
    static let mayEnd: Set<String> = [
        "user64-int80", "real16-int80", "long64-vmcall", "long64-cmpxchg16b", "long64-scribble", "user64-rep-gigabyte",
    ]

    @Test(
        "A guest that would never end stops at its wall time, and the next job finds the slot as new",
        arguments: GuestProgram.all.filter { $0.end == .open }, [nil, 1 << 40] as [UInt64?])
    func ends(_ guest: GuestProgram, steps: UInt64?) async throws {
        let slot = Slot(number: 0, backend: try Hardware.backend.get())
        defer { slot.stop() }
        let budget = Budget(steps: steps, wallTime: .milliseconds(30))
        let result = try await Run.of(guest.image, guest.spec(budget), slot: slot).result
        if !Self.mayEnd.contains(guest.name) || result.outcome.end == .open {
            guard case .exhausted(.wallTime, _, _) = result.outcome else {
                if case .unemulatable = result.outcome, Self.mayEnd.contains(guest.name) { return }
                Issue.record("ended as \(result.outcome)")
                return
            }
        }
        let add = try GuestProgram.named("add")
        let next = try await Run.of(add.image, add.spec(), slot: slot)
        #expect(next.text == "4\n")
    }

    @Test(
        "What one job leaves in memory or registers, the next job on the slot does not find",
        arguments: [("scribble", "search"), ("fill-vectors", "search-vectors"), ("long64-scribble", "search")])
    func leavesNothing(filler: String, searcher: String) async throws {
        let slot = Slot(number: 0, backend: try Hardware.backend.get())
        defer { slot.stop() }
        let (first, second) = (try GuestProgram.named(filler), try GuestProgram.named(searcher))
        let filled = try await Run.of(first.image, first.spec(), slot: slot).result
        #expect(first.end == .open || filled.outcome.end == first.end)
        let searched = try await Run.of(second.image, second.spec(), slot: slot).result
        #expect(searched.outcome == .exited(code: 0))
    }
}
