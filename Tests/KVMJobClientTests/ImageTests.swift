// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import KVMJobClient
import NIOPosix
import Testing

private let large = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }

/// Knows no image the first time, every image afterwards, and halts each job whose image is `large`.
private func knowing(_ orders: @escaping ScriptedWorker.Script = { _, _ in [] }) -> ScriptedWorker.Script {
    { order, session in
        switch order {
        case .lookUp(let job, _, _): job == 1 ? session.imageWanted(job) : session.imageFound(job, large)
        case .submit(let job, _, .image(let image)):
            session.run(job)
                + session.finished(job, JobResult(outcome: image.bytes == large ? .halted : .tripleFault))
        default: orders(order, &session)
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct ImageTests {
    private func firstLookUp(_ worker: ScriptedWorker) async -> ContentDigest? {
        for await case .lookUp(_, let digest, _) in worker.orders { return digest }
        return nil
    }

    @Test func `a large image is offered by its digest and sent when it is wanted`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: knowing())
        for _ in 0..<3 {
            #expect(try await client.submit(JobSpec(), image: large).result().outcome == .halted)
        }
        #expect(await firstLookUp(worker) == ContentDigest(hashing: large))
        await client.shutdown()
    }

    @Test func `a digest that was computed before is the one that is sent`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: knowing())
        let made = Image([1, 2, 3], digest: ContentDigest(hashing: [4]))
        let error = await #expect(throws: JobClientError.self) { try await client.submit(JobSpec(), image: made) }
        #expect(error?.refusal?.name == "image-digest-mismatch")
        #expect(await firstLookUp(worker) == made.digest)
        await client.shutdown()
    }

    @Test func `small images, and those with input ahead of them, are sent without a digest`() async throws {
        let (client, worker) = try await ScriptedWorker.connect { order, session in
            guard case .submit(let job, _, .image(let image)) = order else { return [] }
            let outcome = Outcome.exited(code: UInt32(image.bytes.count))
            return session.run(job) + session.finished(job, JobResult(outcome: outcome))
        }
        let small = [UInt8](repeating: 1, count: Image.leastOffered - 1)
        #expect(try await client.submit(JobSpec(), image: small).result().outcome == .exited(code: 4095))
        #expect(try await client.submit(JobSpec(), image: large, input: [1]).result().outcome == .exited(code: 300_000))
        await client.shutdown()
        for await order in worker.orders {
            if case .lookUp = order { Issue.record("an image was offered") }
        }
    }

    @Test func `a job whose image the worker still looks for can be taken back, and nothing is sent`() async throws {
        let (client, worker) = try await ScriptedWorker.connect { _, _ in [] }
        let task = Task { try await client.submit(JobSpec(), image: large) }
        _ = await firstLookUp(worker)
        // The worker asks before it knows that the job was taken back, and the client hears of that afterwards.
        try await worker.pause(true)
        task.cancel()
        for loop in MultiThreadedEventLoopGroup.singleton.makeIterator() { try await loop.submit {}.get() }
        worker.act { $0.imageWanted(1) }
        try await worker.pause(false)
        await #expect(throws: CancellationError.self) { try await task.value }
        await client.shutdown()
        for await _ in worker.orders {}
        #expect(try await worker.count(of: .cancel) == 1)
        #expect(try await worker.count(of: .image) == 0)
    }
}
