// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

@Suite("Where a snapshot is taken", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct SnapshotPointTests {
    private static let spec = JobSpec(memoryBytes: 2 << 20)
    /// inc ax; inc ax; out 0xf5, al; inc ax; hlt
    private static let says = hex("40 40 e6f5 40 f4")
    /// again: inc ax; cmp ax, 100; jne again; hlt
    private static let counts = hex("40 83f864 75fa f4")

    private func outcome(
        _ image: [UInt8], at point: SnapshotPoint, _ budget: Budget = Budget(), byteLimit: UInt64 = 1 << 30
    ) async throws -> (outcome: Outcome, result: JobResult, hasSnapshot: Bool) {
        var spec = Self.spec
        spec.budget = budget
        let run = try await SnapshotRun.of(image, spec, at: point, byteLimit: byteLimit)
        return (try run.run.result.outcome, try run.run.result, run.snapshot != nil)
    }

    private var taken: Outcome { get throws { .snapshotTaken(try #require(SnapshotRun.name)) } }

    @Test("Ready is behind the guest's OUT", arguments: ["e6f5", "e7f5", "66e7f5"])
    func ready(out: String) async throws {
        let image = hex("40 40 \(out) 40 f4")
        let end = try await outcome(image, at: .ready)
        #expect(try end.outcome == taken)
        #expect(end.result.registers?.rax == 2)
        #expect(end.result.registers?.rip == 0x1000 + 2 + UInt64(hex(out).count))
        let snapshot = try await SnapshotRun.taken(image, Self.spec, at: .ready)
        let warm = try await Run.of(snapshot).result
        #expect(warm.outcome == .halted)
        #expect(warm.registers?.rax == 3)
    }

    @Test("A write to the ready port is nothing to any other job")
    func readyElsewhere() async throws {
        let result = try await Run.of(Self.says, Self.spec).result
        #expect(result.outcome == .halted)
        #expect(result.registers?.rax == 3)
        #expect(result.unclaimedPortWrites == 0)
        // Two steps of 'inc' are not where the guest says it.
        let late = try await outcome(Self.says, at: .steps(4))
        #expect(late.result.registers?.rax == 3)
    }

    @Test("A string of ready's is one", .timeLimit(.minutes(1)))
    func string() async throws {
        // mov cx, 300; mov dx, 0xf5; rep outsb; inc ax; hlt
        let image = hex("b92c01 baf500 f36e 40 f4")
        let snapshot = try await SnapshotRun.taken(image, Self.spec, at: .ready)
        let warm = try await Run.of(snapshot).result
        #expect(warm.outcome == .halted)
        #expect(warm.registers?.rax == 1)
        #expect(warm.registers?.rcx == 0)
    }

    @Test("A number of steps is exact", arguments: [MeterRequest.exact, .stepped], [1, 2, 3, 150, 299])
    func steps(meter: MeterRequest, count: UInt64) async throws {
        var spec = Self.spec
        spec.meter = meter
        let run = try await SnapshotRun.of(Self.counts, spec, at: .steps(count))
        #expect(try run.run.result.steps == count)
        #expect(try run.run.result.registers?.rax == (count + 2) / 3)
        let warm = try await Run.of(try #require(run.snapshot), spec).result
        #expect(warm.outcome == .halted)
        #expect(warm.steps == 301 - count)
    }

    @Test(
        "The first time that the guest gets to an address",
        arguments: [
            (UInt64(0x1000), UInt64(0)), (0x1001, 1), (0x1004, 2), (0x1006, 300),
        ])
    func address(address: UInt64, steps: UInt64) async throws {
        let end = try await outcome(Self.counts, at: .address(address))
        #expect(try end.outcome == taken)
        #expect(end.result.steps == steps)
        #expect(end.result.registers?.rip == address)
    }

    @Test("An address is a linear one", .timeLimit(.minutes(1)))
    func linearAddress() async throws {
        // jmp 0x0100:0x0006, which is 0x1006; inc ax; hlt
        let image = hex("ea 0600 0001 90 40 f4")
        let end = try await outcome(image, at: .address(0x1006))
        #expect(try end.outcome == taken)
        #expect(end.result.registers?.rip == 6)
    }

    @Test("An address in each mode", arguments: SnapshotTests.guests)
    func addressInEachMode(_ guest: GuestProgram) async throws {
        // Behind the first instruction of each, by what its ready state says of the number of steps.
        var spec = guest.spec()
        let stepped = try await SnapshotRun.of(guest.image, spec, at: .steps(5))
        let place = try #require(stepped.run.result.registers?.rip)
        let run = try await SnapshotRun.of(guest.image, spec, at: .address(place))
        #expect(try run.run.result.registers?.rip == place)
        spec.meter = .exact
        let warm = try await Run.of(try #require(run.snapshot), JobSpec(), input: SnapshotTests.input)
        #expect(warm.console.starts(with: SnapshotTests.answer))
    }

    @Test(
        "A guest that ends before its point ends as any other, and nothing is kept",
        arguments: [
            SnapshotPoint.ready, .steps(302), .address(0x2000),
        ])
    func endsBefore(point: SnapshotPoint) async throws {
        let end = try await outcome(Self.counts, at: point)
        #expect(end.outcome == .halted)
        #expect(!end.hasSnapshot)
        let other = try await outcome(hex("b007 e6f4"), at: point)
        #expect(other.outcome == .exited(code: 7))
        #expect(!other.hasSnapshot)
    }

    @Test("A budget ends it before its point, and not at it")
    func budgets() async throws {
        let before = try await outcome(Self.counts, at: .steps(100), Budget(steps: 99))
        #expect(before.outcome == .exhausted(.steps, limit: 99, used: 99))
        #expect(!before.hasSnapshot)
        let at = try await outcome(Self.counts, at: .steps(100), Budget(steps: 100))
        #expect(try at.outcome == taken)
        let address = try await outcome(Self.counts, at: .address(0x2000), Budget(steps: 99))
        #expect(address.outcome == .exhausted(.steps, limit: 99, used: 99))
        // jmp $
        let spins = try await outcome([0xEB, 0xFE], at: .ready, Budget(wallTime: .milliseconds(50)))
        guard case .exhausted(.wallTime, _, _) = spins.outcome else {
            Issue.record("\(spins.outcome)")
            return
        }
    }

    @Test("A snapshot is only as large as it may be: whole pages that are not all zeros")
    func limit() async throws {
        // mov byte [0x2000], 1; out 0xf5, al: this page and the image's own.
        let image = hex("c606002001 e6f5 f4")
        let fits = try await outcome(image, at: .ready, byteLimit: 8192)
        #expect(fits.hasSnapshot)
        let exceeds = try await outcome(image, at: .ready, byteLimit: 8191)
        #expect(exceeds.outcome == .exhausted(.memory, limit: 8191, used: 8192))
        #expect(!exceeds.hasSnapshot)
        #expect(try await SnapshotRun.taken(image, Self.spec, at: .ready).heldBytes == 8192 + 4096)
    }

    @Test("A cancelled job leaves nothing")
    func cancelled() async throws {
        var spec = Self.spec
        spec.snapshot = .ready
        let control = JobControl(hasInput: false)
        control.cancel(.client)
        let terms = SnapshotTerms(name: try #require(SnapshotRun.name), byteLimit: 1 << 20)
        let job = try AdmittedJob(image: [0xEB, 0xFE], spec: spec, keeping: terms, on: Hardware.backend.get().profile)
        #expect(try await Run.of(job, control: control).result.outcome == .cancelled(by: .client))
        #expect(control.takeSnapshot() == nil)
    }
}
