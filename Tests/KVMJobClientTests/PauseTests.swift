// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import KVMJobClient
import Testing

private var pausing: JobSpec {
    var spec = JobSpec(budget: Budget(steps: 5))
    spec.pausesWhenStepsRunOut = true
    return spec
}

private func pause(_ steps: UInt64) -> Pause { Pause(steps: steps, keepNanoseconds: 9) }

private func spent(_ steps: UInt64) -> JobResult {
    JobResult(outcome: .exhausted(.steps, limit: steps, used: steps))
}

/// Writes two bytes and pauses, again after each extension; ends after one by 0.
private let pausingTwice: ScriptedWorker.Script = { order, session in
    switch order {
    case .submit(let job, let spec, _):
        #expect(spec.pausesWhenStepsRunOut)
        return session.run(job) + session.output(job, .console, [1, 2]) + session.paused(job, pause(5))
    case .extend(let job, steps: 0): return session.finished(job, spent(5))
    case .extend(let job, let steps):
        return session.output(job, .console, [3, 4]) + session.paused(job, pause(5 + steps))
    case .credit, .input, .cancel, .attach, .leave, .lookUp, .lookUpLayers, .send, .stopReading, .close, .query, .stop,
        .sendAnswer:
        return []
    }
}

@Suite(.timeLimit(.minutes(1))) struct PauseTests {
    @Test func `pauses come one by one, each after an answer to the one before, and end with the job`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: pausingTwice)
        let job = try await client.submit(pausing, image: [1])
        job.discardOutput()
        var seen: [Pause] = []
        for await pause in job.pauses {
            seen.append(pause)
            job.extend(steps: seen.count < 3 ? 7 : 0)
        }
        #expect(seen == [pause(5), pause(12), pause(12)])
        #expect(try await job.result() == spent(5))
        var extensions: [ServerAction] = []
        for await order in worker.orders {
            if case .extend = order { extensions.append(order) }
            if extensions.count == 3 { break }
        }
        #expect(
            extensions == [.extend(job: 1, steps: 7), .extend(job: 1, steps: 7), .extend(job: 1, steps: 0)])
        await client.shutdown()
    }

    @Test func `a pause is told when the output before it has been read`() async throws {
        let (client, _) = try await ScriptedWorker.connect(script: pausingTwice)
        let job = try await client.submit(pausing, image: [1])
        _ = try await job.started()
        let isTold = Task {
            var pauses = job.pauses.makeAsyncIterator()
            let first = await pauses.next()
            job.extend(steps: 0)
            return first
        }
        var output = job.output.makeAsyncIterator()
        #expect(try await output.next()?.bytes == [1, 2])
        #expect(try await output.next() == nil, "told by now, answered, and over")
        #expect(await isTold.value == pause(5))
        await client.shutdown()
    }

    @Test func `dropping the output is as good as reading it`() async throws {
        let (client, _) = try await ScriptedWorker.connect(script: pausingTwice)
        let job = try await client.submit(pausing, image: [1])
        _ = try await job.started()
        async let first = job.pauses.first { _ in true }
        job.discardOutput()
        #expect(await first == pause(5))
        await client.shutdown()
    }

    @Test func `extending a job that is not paused sends nothing`() async throws {
        let (client, worker) = try await ScriptedWorker.connect { order, session in
            if case .submit(let job, _, _) = order { session.run(job) } else { [] }
        }
        let job = try await client.submit(pausing, image: [1])
        _ = try await job.started()
        job.extend(steps: 5)
        job.cancel()
        var orders = worker.orders.makeAsyncIterator()
        while let order = await orders.next() {
            if case .extend = order { Issue.record("an EXTEND came") }
            if case .cancel = order { break }
        }
        worker.act { $0.finished(1, JobResult(outcome: .halted)) }
        #expect(try await job.result().outcome == .halted)
        job.extend(steps: 5)
        var pauses = job.pauses.makeAsyncIterator()
        #expect(await pauses.next() == nil)
        await client.shutdown()
    }

    @Test func `a caller who never looks gets the result when the worker has waited long enough`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: pausingTwice)
        let job = try await client.submit(pausing, image: [1])
        for await case .credit in worker.orders { break }
        worker.act { $0.finished(1, spent(5)) }
        #expect(try await job.result() == spent(5))
        var bytes: [UInt8] = []
        for try await chunk in job.output { bytes += chunk.bytes }
        #expect(bytes == [1, 2])
        await client.shutdown()
    }

    @Test func `pauses end with the connection`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: pausingTwice)
        let job = try await client.submit(pausing, image: [1])
        job.discardOutput()
        var pauses = job.pauses.makeAsyncIterator()
        #expect(await pauses.next() == pause(5))
        worker.close()
        #expect(await pauses.next() == nil)
        await #expect(throws: JobClientError.self) { try await job.result() }
    }
}
