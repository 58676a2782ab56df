// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import KVMJobClient
import Testing

@testable import Worker

@Suite("Snapshots, over a socket", .enabled(if: kvmIsUsable, "no usable /dev/kvm"), .timeLimit(.minutes(2)))
struct SnapshotTests {
    /// mov al, '1'; out 0xe9, al; out 0xf5, al; again: in al, dx for the line; test al, 1; jz again; read; out 0xe9, al; hlt
    private let image: [UInt8] = [
        0xB0, 0x31, 0xE6, 0xE9, 0xE6, 0xF5, 0xBA, 0xFD, 0x03, 0xEC, 0xA8, 0x01, 0x74, 0xFB, 0xBA, 0xF8, 0x03, 0xEC,
        0xE6, 0xE9, 0xF4,
    ]

    private func take(
        _ client: JobClient, _ image: [UInt8], _ spec: JobSpec = JobSpec(), at point: SnapshotPoint = .ready
    ) async throws -> ContentDigest {
        var spec = spec
        spec.snapshot = point
        let job = try await client.submit(spec, image: image)
        job.discardOutput()
        let outcome = try await job.result().outcome
        guard case .snapshotTaken(let name) = outcome else { throw NotTaken(outcome: outcome) }
        return name
    }

    private struct NotTaken: Error { let outcome: Outcome }

    private func refusal(_ submission: () async throws -> RunningJob) async throws -> JobClientError.Refusal {
        do {
            _ = try await submission()
        } catch let error as JobClientError where error.code == .refused {
            return try #require(error.refusal)
        }
        throw NotTaken(outcome: .halted)
    }

    private func console(_ job: RunningJob) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        for try await chunk in job.output where chunk.channel == .console { bytes += chunk.bytes }
        return bytes
    }

    @Test("Jobs of any connection of the user start from it, each with its own input")
    func jobs() async throws {
        let worker = try await TestWorker()
        let name = try await take(try await worker.connect(), image)
        let client = try await worker.connect()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in UInt8(0)..<40 {
                group.addTask {
                    let job = try await client.submit(JobSpec(), from: name, input: [number])
                    #expect(try await console(job) == [number])
                    #expect(try await job.result().outcome == .halted)
                }
            }
            try await group.waitForAll()
        }
    }

    /// mov dx, 0x3f8; out 0xf5, al; in al, dx; out 0xe9, al; hlt
    private let reader: [UInt8] = [0xBA, 0xF8, 0x03, 0xE6, 0xF5, 0xEC, 0xE6, 0xE9, 0xF4]

    @Test("Input that comes with the submission is there when the guest goes on, though it does not wait for any")
    func inputAhead() async throws {
        let client = try await TestWorker(slots: 1).connect()
        let name = try await take(client, reader)
        for number in UInt8(1)...100 {
            let job = try await client.submit(JobSpec(), from: name, input: [number])
            #expect(try await console(job) == [number])
        }
    }

    @Test("A client that fails right behind its submission takes no slot with it")
    func gone() async throws {
        let worker = try await TestWorker(slots: 1)
        let client = try await worker.connect()
        let name = try await take(client, reader)
        // A read that a submission fills to the last byte goes on to the error behind it.
        for bytes in [512, 1024, 2048, 4096, 8192] {
            for _ in 0..<8 { try await BareClient(to: worker).submitAndLeave(.snapshot(name), bytes: bytes) }
        }
        while await worker.worker.status.connections > 1 { await Task.yield() }
        while await worker.worker.status.running > 0 { await Task.yield() }
        let job = try await client.submit(JobSpec(), from: name, input: [7])
        #expect(try await console(job) == [7])
    }

    @Test("Jobs that come in one piece start in their order, those that wait for their input too", arguments: 1...3)
    func together(slots: Int) async throws {
        let worker = try await TestWorker(slots: slots)
        let name = try await take(try await worker.connect(), reader)
        let client = try await BareClient(to: worker)
        for _ in 0..<20 {
            #expect(try client.submitTogether(.snapshot(name), count: 5) == Array(repeating: .halted, count: 5))
        }
    }

    @Test("Its name is a digest of the image, the start and the point, whoever computes it")
    func name() async throws {
        let client = try await TestWorker().connect()
        let name = try await take(client, image)
        #expect(try await take(client, image, JobSpec(label: "other", budget: Budget(exits: 100))) == name)
        var spec = JobSpec()
        spec.registers = [.rbx: 1]
        #expect(try await take(client, image, spec) != name)
        #expect(try await take(client, image, at: .steps(1)) != name)
        #expect(try await take(client, image + [0]) != name)

        // Mode, image_bytes, memory_bytes and snapshot, as section 3.15 has them.
        let fields: [UInt8] =
            [0x80, 0x02, 0, 0, 0, 1, 1] + [0x80, 0x03, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, UInt8(image.count)]
            + [0x80, 0x07, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0, 0, 0] + [0x80, 0x1B, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0]
        let bytes = Array("kvmjob-snapshot-1\0".utf8) + ContentDigest(hashing: image).bytes + fields
        #expect(name == ContentDigest(hashing: bytes))
    }

    @Test("A name that is not there is refused, and says what to do")
    func unknown() async throws {
        let client = try await TestWorker().connect()
        let name = ContentDigest(hashing: [])
        let reason = try await refusal { try await client.submit(JobSpec(), from: name) }
        #expect(reason.name == "snapshot-unknown")
        do {
            _ = try await client.submit(JobSpec(), from: name)
        } catch let error as JobClientError {
            #expect(error.message.contains("take it again"))
        }
    }

    @Test("What the snapshot decides, and what taking one excludes, is refused")
    func excluded() async throws {
        let client = try await TestWorker().connect()
        let name = try await take(client, image)
        var (registers, deterministic) = (JobSpec(), JobSpec())
        registers.registers = [.rax: 1]
        deterministic.isDeterministic = true
        for spec in [registers, deterministic, JobSpec(loadAddress: 0x2000), JobSpec(entryPoint: 0x2000)] {
            #expect(try await refusal { try await client.submit(spec, from: name) }.name == "invalid-field")
        }
        var (pausing, traced, input) = (JobSpec(budget: Budget(steps: 9)), JobSpec(), JobSpec())
        (pausing.pausesWhenStepsRunOut, traced.isTraced, input.hasInput) = (true, true, true)
        for spec in [pausing, traced, input] {
            var spec = spec
            spec.snapshot = .ready
            #expect(try await refusal { try await client.submit(spec, image: image) }.name == "invalid-field")
        }
        var again = JobSpec()
        again.snapshot = .ready
        #expect(try await refusal { try await client.submit(again, from: name) }.name == "invalid-field")
        // A window is held against the snapshot's memory.
        var dump = JobSpec()
        dump.dumps = [MemoryRange(address: 16 << 20, count: 1)]
        #expect(try await refusal { try await client.submit(dump, from: name) }.name == "invalid-field")
    }

    @Test("A job tells its snapshot's memory, pauses, and is shown its end as any other")
    func asAnyOther() async throws {
        let client = try await TestWorker().connect()
        // out 0xf5, al; again: inc ax; jmp again
        let name = try await take(client, [0xE6, 0xF5, 0x40, 0xEB, 0xFD], JobSpec(memoryBytes: 2 << 20))
        var spec = JobSpec(budget: Budget(steps: 10))
        spec.pausesWhenStepsRunOut = true
        spec.report = .all
        spec.dumps = [MemoryRange(address: 0x1000, count: 5)]
        let job = try await client.submit(spec, from: name)
        #expect(try await job.started()?.memoryBytes == 2 << 20)
        var pauses = 0
        job.discardOutput()
        for await pause in job.pauses {
            pauses += 1
            #expect(pause.steps == UInt64(pauses) * 10)
            job.extend(steps: pauses < 3 ? 10 : 0)
        }
        let result = try await job.result()
        #expect(result.outcome == .exhausted(.steps, limit: 30, used: 30))
        #expect(result.registers?.rax == 15)
        #expect(result.digest != nil)
        #expect(result.postMortem.code != nil)
    }

    @Test("The store keeps to its bounds: what was used least recently is unknown then")
    func bounds() async throws {
        var limits = WorkerLimits()
        limits.snapshots = 2
        let client = try await TestWorker(limits: limits).connect()
        var names: [ContentDigest] = []
        for filler in UInt8(0)..<3 { names.append(try await take(client, image + [filler])) }
        #expect(try await refusal { try await client.submit(JobSpec(), from: names[0]) }.name == "snapshot-unknown")
        for name in names[1...] {
            let job = try await client.submit(JobSpec(), from: name, input: [1])
            #expect(try await console(job) == [1])
        }
    }

    @Test("While a job runs its snapshot stays; one that has no room beside it is the host's error")
    func inUse() async throws {
        var limits = WorkerLimits()
        limits.snapshots = 1
        let client = try await TestWorker(limits: limits).connect()
        let name = try await take(client, image)
        let patient = JobSpec(budget: Budget(wallTime: .seconds(100)))
        let job = try await client.submit(patient, from: name, input: [], moreInput: true)
        _ = try await job.started()
        do {
            _ = try await take(client, image + [0])
            Issue.record("there was room")
        } catch let error as NotTaken {
            guard case .hostError(let text) = error.outcome else { throw error }
            #expect(text.contains("use all the room"))
        }
        try await job.send([5])
        // By that byte the guest may have come to its end.
        try? await job.finishInput()
        #expect(try await console(job) == [5])
        #expect(try await job.result().outcome == .halted)
        _ = try await take(client, image + [0])
    }

    @Test("A guest with more memory than a snapshot may have has used up its memory")
    func tooLarge() async throws {
        var limits = WorkerLimits()
        limits.snapshotBytes = 4096 * 2
        let client = try await TestWorker(limits: limits).connect()
        // mov byte [0x2000], 1; mov byte [0x3000], 1; out 0xf5, al; hlt
        let large: [UInt8] = [0xC6, 0x06, 0, 0x20, 1, 0xC6, 0x06, 0, 0x30, 1, 0xE6, 0xF5, 0xF4]
        do {
            _ = try await take(client, large)
            Issue.record("there was room")
        } catch let error as NotTaken {
            #expect(error.outcome == .exhausted(.memory, limit: 8192, used: 12288))
        }
    }
}
