// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Crypto
import JobModel
import JobProtocol
import KVM
import Testing

@testable import VMRuntime

/// A digest as section 4 of the protocol defines it, from the bytes of the RESULT frame and from what the guest is known to have
/// done: nothing here comes from ``RunDigest``.
private struct ExpectedDigest {
    var result: JobResult
    var console: [UInt8] = []
    var portWrites: [UInt8] = []
    /// Pages that are not all zeros, by address.
    var pages: [UInt64: [UInt8]] = [:]
    var memoryBytes: UInt64 = 1 << 20

    private typealias Field = (tag: UInt16, bytes: [UInt8])

    /// The fields of RESULT: a header of 12 bytes, then tag (2), length (4) and value of each.
    private var fields: [Field] {
        var rest = Message.result(job: 1, ResultReport(result)).encode().dropFirst(12)
        var fields: [Field] = []
        while rest.count >= 6 {
            let head = rest.prefix(6).map(Int.init)
            let count = head[2] << 24 | head[3] << 16 | head[4] << 8 | head[5]
            fields.append((UInt16(head[0] << 8 | head[1]), Array(rest.prefix(6 + count))))
            rest = rest.dropFirst(6 + count)
        }
        return fields
    }

    private func value(_ tag: UInt16) -> [UInt8]? {
        fields.first { $0.tag == tag }.map { Array($0.bytes.dropFirst(6)) }
    }

    private func sha(_ bytes: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bytes)) }

    var bytes: [UInt8] {
        let outcome = value(1) ?? []
        // cpu-time 7, wall-time 8, memory 11.
        let isMeasured = [[7], [8], [11]].contains(outcome)
        var all = Array("kvmjob-digest-1".utf8) + [0] + outcome
        for field in fields where (2...10).contains(field.tag) && !(field.tag == 9 && isMeasured) { all += field.bytes }
        all += value(0x0E).map { [1] + $0 } ?? [0]
        if let registers = value(0x15), let system = value(0x16) { all += [1] + registers + system } else { all += [0] }
        func number(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - $0 * 8)) } }
        var memory = number(memoryBytes)
        for (address, page) in pages.sorted(by: { $0.key < $1.key }) {
            memory += number(address)
            memory += page + [UInt8](repeating: 0, count: 4096 - page.count)
        }
        return sha(all + sha(console) + sha(portWrites) + sha(memory))
    }
}

@Suite("The digest", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct RunDigestTests {
    private func spec(_ budget: Budget = Budget(), portWrites: Bool = false) -> JobSpec {
        var spec = JobSpec(memoryBytes: 1 << 20, budget: budget, reportsPortWrites: portWrites)
        spec.report = [.digest]
        return spec
    }

    @Test("It is what the protocol says, of a guest that writes to the console, to a port and to memory")
    func definition() async throws {
        // mov al, 'A'; out 0xe9, al; out 0x80, al; mov [0x5001], al; hlt
        let image = hex("b0 41 e6 e9 e6 80 a2 01 50 f4")
        let result = try await Run.of(image, spec(portWrites: true)).result
        let expected = ExpectedDigest(
            result: result, console: [0x41], portWrites: hex("0080 01 00 00000041"),
            pages: [0x1000: image, 0x5000: [0, 0x41]])
        #expect(result.digest == expected.bytes)
        // Writes that nobody asked to see are on no channel.
        let unseen = try await Run.of(image, spec()).result
        #expect(
            unseen.digest
                == ExpectedDigest(result: unseen, console: [0x41], pages: [0x1000: image, 0x5000: [0, 0x41]]).bytes)
    }

    @Test(
        "It holds for every kind of outcome",
        arguments: [
            ("b8 07 00 e7 f4", nil), ("b0 07 e6 f4", 1000), ("eb fe", 77), ("0f ff f4", nil), ("eb fe", nil),

        ] as [(String, UInt64?)])
    func outcomes(code: String, steps: UInt64?) async throws {
        let image = hex(code)
        let budget = Budget(steps: steps, wallTime: .milliseconds(200))
        let result = try await Run.of(image, spec(budget)).result
        #expect(result.digest == ExpectedDigest(result: result, pages: [0x1000: image]).bytes, "\(result.outcome)")
    }

    @Test("It holds for a triple fault")
    func tripleFault() async throws {
        let guest = try GuestProgram.named("real16-triple-fault")
        var spec = guest.spec()
        spec.report = [.digest]
        let result = try await Run.of(guest.image, spec).result
        #expect(result.outcome == .tripleFault)
        #expect(
            result.digest == ExpectedDigest(result: result, pages: [0x1000: guest.image], memoryBytes: 16 << 20).bytes)
    }

    @Test("It covers output that nobody gave credit for, and the end of who cancelled")
    func dropped() async throws {
        let control = JobControl(hasInput: true)
        control.cancel(.drain)
        let cancelled = try await Run.of(hex("b0 41 e6 e9 f4"), spec(), credit: 0, control: control).result
        #expect(cancelled.outcome == .cancelled(by: .drain))
        #expect(cancelled.digest == ExpectedDigest(result: cancelled, pages: [0x1000: hex("b0 41 e6 e9 f4")]).bytes)
        // mov cx, 20000; again: out 0xe9, al; loop again; hlt: more than the slot holds back, so it stands there for credit.
        let image = hex("b9 20 4e e6 e9 e2 fc f4")
        let stuck = try await Run.of(image, spec(Budget(wallTime: .milliseconds(300))), credit: 0).result
        #expect(stuck.outcome.name == "wall-time-exhausted")
        let console = [UInt8](repeating: 0, count: Int(stuck.outputBytes))
        #expect(stuck.digest == ExpectedDigest(result: stuck, console: console, pages: [0x1000: image]).bytes)
    }

    @Test("One byte anywhere makes another digest")
    func sensitivity() async throws {
        var digests: Set<[UInt8]?> = []
        let images = [
            "b0 41 e6 e9 f4", "b0 42 e6 e9 f4",  // another byte of the console, and of the image
            "b0 00 a2 ff ff f4", "b0 01 a2 ff ff f4", "b0 01 a2 fe ff f4",  // memory, at the end of a page
            "b0 01 e6 80 f4", "b0 01 e6 81 f4",
        ]
        for image in images { digests.insert(try await Run.of(hex(image), spec(portWrites: true)).result.digest) }
        #expect(digests.count == images.count && !digests.contains(nil))
    }

    @Test("Nobody pays for a digest that nobody asked for")
    func absent() async throws {
        #expect(try await Run.of(hex("f4"), JobSpec()).result.digest == nil)
    }

    @Test("Ends that say nothing of the guest have none")
    func hostErrors() throws {
        let vm = try Hardware.backend.get().hypervisor.makeVirtualMachine(memoryBytes: 4096)
        for outcome in [Outcome.hostError("no memory"), .waitExpired(limit: 1)] {
            #expect(RunDigest().value(of: JobResult(outcome: outcome), memory: vm.memory) == nil)
        }
    }
}
