// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import BareLoop
import Glibc
import GuestImage
import JobModel
import Testing

@Suite(
    "A guest in a bare loop", .enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm"),
    .timeLimit(.minutes(1)))
struct BareLoopTests {
    private func loop(_ image: [UInt8], _ spec: JobSpec = JobSpec()) throws -> BareLoop {
        try BareLoop(GuestLayout(flat: image, spec: spec))
    }

    @Test func `every job runs the image to its end`() async throws {
        let sum = try loop(
            [0x00, 0xD8, 0x04, 0x30, 0xBA, 0xF8, 0x03, 0xEE, 0xB0, 0x0A, 0xEE, 0xF4],
            JobSpec(registers: [.rax: 2, .rbx: 2]))
        let one = try await sum.run(for: .zero)
        #expect(one.jobs == 1 && one.end.exitCode == nil && one.end.outputBytes == 2)
        let many = try await sum.run(for: .milliseconds(50))
        #expect(many.jobs > 1 && many.end == one.end && many.nanoseconds >= 50_000_000)
        #expect(abs(many.rate - Double(many.jobs) / Double(many.nanoseconds) * 1e9) < 1e-6)
    }

    @Test func `more output than a coalescing ring holds is counted all the same`() async throws {
        // mov cx, 1000; out 0xE9, al; loop; hlt
        let talk = try loop([0xB9, 0xE8, 0x03, 0xE6, 0xE9, 0xE2, 0xFC, 0xF4])
        #expect(try await talk.run(for: .milliseconds(20)).end.outputBytes == 1000)
    }

    @Test func `an exit code is told, from the very first instruction too`() async throws {
        #expect(try await loop([0xB0, 0x07, 0xE6, 0xF4]).run(for: .milliseconds(5)).end.exitCode == 7)
        let first = try loop([0xE6, 0xF4, 0xB0, 0x01, 0xE6, 0xF4], JobSpec(registers: [.rax: 9]))
        #expect(try await first.run(for: .milliseconds(5)).end.exitCode == 9)
    }

    /// Each guest exits with what the job before may have left there, and then leaves something; a loop whose jobs do not
    /// all end alike throws.
    @Test(
        arguments: [
            // Memory: mov al, [0x8000]; inc byte [0x8000]; out 0xF4, al
            (GuestMode.real16, [0xA0, 0x00, 0x80, 0xFE, 0x06, 0x00, 0x80, 0xE6, 0xF4]),
            // A debug register: mov ecx, dr0; mov eax, 0x55; mov dr0, eax; mov al, cl; out 0xF4, al
            (.real16, [0x0F, 0x21, 0xC1, 0x66, 0xB8, 0x55, 0, 0, 0, 0x0F, 0x23, 0xC0, 0x88, 0xC8, 0xE6, 0xF4]),
            // SSE: movd eax, xmm0; mov ecx, 0x55; movd xmm0, ecx; out 0xF4, al
            (.user64, [0x66, 0x0F, 0x7E, 0xC0, 0xB9, 0x55, 0, 0, 0, 0x66, 0x0F, 0x6E, 0xC1, 0xE6, 0xF4]),
            // A general register that the image does not set: mov al, bl; mov bl, 0x55; out 0xF4, al
            (.real16, [0x88, 0xD8, 0xB3, 0x55, 0xE6, 0xF4]),
        ] as [(GuestMode, [UInt8])])
    func `nothing of one job is left for the next`(mode: GuestMode, image: [UInt8]) async throws {
        let tally = try await loop(image, JobSpec(mode: mode)).run(for: .milliseconds(5))
        #expect(tally.jobs > 2 && tally.end.exitCode == 0)
    }

    @Test func `a guest that differs from run to run is told apart`() async throws {
        // rdtsc; out 0xF4, al
        let clock = try loop([0x0F, 0x31, 0xE6, 0xF4])
        await #expect(throws: BareLoopError.differed) { _ = try await clock.run(for: .milliseconds(50)) }
    }

    @Test func `what only a worker has an answer to ends the loop`() async throws {
        // ud2, with no handler for it
        let fault = try loop([0x0F, 0x0B], JobSpec(mode: .long64))
        await #expect(throws: BareLoopError.unserved) { _ = try await fault.run(for: .zero) }
    }
}
