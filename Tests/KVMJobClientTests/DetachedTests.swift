// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import KVMJobClient
import NIOConcurrencyHelpers
import Testing

/// Keeps jobs: accepts each under the number 40 and the number of its SUBMIT, one with the key "again" as repeated.
private let keeping: ScriptedWorker.Script = { order, session in
    switch order {
    case .submit(let job, let spec, _):
        var acceptance = Acceptance(id: 40 + UInt64(job))
        acceptance.isRepeated = spec.detachment?.key == "again"
        return session.accepted(job, acceptance)
    case .lookUp(let job, _, _): return session.imageWanted(job)
    case .attach(let job, let request):
        var state = DetachedJob(id: request.id, tenant: .user(1), state: .running)
        (state.run, state.title, state.outputBytes) = (2, "kept", 6)
        guard request.id < 1000 else { return session.refused(job, Refusal(.jobUnknown, "no such job")) }
        return session.attached(job, state: state)
    case .leave(let job): return session.left(job, .asked)
    case .cancel(let job, let canceller): return session.finished(job, JobResult(outcome: .cancelled(by: canceller)))
    case .lookUpLayers, .credit, .input, .extend, .query, .stop, .send, .sendAnswer, .stopReading, .close: return []
    }
}

@Suite(.timeLimit(.minutes(1))) struct DetachTests {
    @Test func `a job is handed over with all of its input, and nothing of it is left in flight`() async throws {
        let input = [UInt8](repeating: 7, count: 100)
        let taken = NIOLockedValueBox<[UInt8]>([])
        let (client, _) = try await ScriptedWorker.connect { order, session in
            if case .submit(let job, _, _) = order { taken.withLockedValue { $0 = session.input(of: job) } }
            return keeping(order, &session)
        }
        let first = try await client.detach(JobSpec(label: "kept"), image: Image([1, 2]), input: input)
        #expect(first.id == 41 && !first.isRepeated)
        #expect(taken.withLockedValue { $0 } == input)
        var spec = JobSpec()
        spec.detachment = Detachment(key: "again")
        let second = try await client.detach(spec, image: Image([1, 2]))
        #expect(second.id == 42 && second.isRepeated)
        await client.shutdown()
    }

    @Test func `a worker that does not say the number of the job breaks the protocol`() async throws {
        let (client, _) = try await ScriptedWorker.connect { order, session in
            guard case .submit(let job, _, _) = order else { return keeping(order, &session) }
            return session.accepted(job, Acceptance())
        }
        let error = await #expect(throws: JobClientError.self) {
            try await client.detach(JobSpec(), image: Image([1]))
        }
        #expect(error?.code == .protocolViolation)
        await client.shutdown()
    }

    @Test func `kept jobs are listed over all pages, and forgotten one by one`() async throws {
        let (client, _) = try await ScriptedWorker.connect { order, session in
            switch order {
            case .query(.detached(let after)):
                let rest = [5, 6, 8].filter { $0 > after ?? 0 }
                let jobs = rest.map { DetachedJob(id: $0, tenant: .user(7), state: .ended) }
                return session.answer(.detached(Array(jobs.prefix(2)), more: jobs.count > 2))
            case .stop(.keeping(let ids)):
                return session.stopAnswered(.keeping(ids.map { [.stopped, .unknown, .unfinished][Int($0 % 3)] }))
            default: return []
            }
        }
        #expect(try await client.detachedJobs().map(\.id) == [5, 6, 8])
        #expect(try await client.forget([3, 4, 5]) == [.stopped, .unknown, .unfinished])
        let many = (0..<1200).map { UInt64($0) * 3 }
        #expect(try await client.forget(many) == [StopAnswer.JobAnswer](repeating: .stopped, count: 1200))
        #expect(try await client.forget([]).isEmpty)
        await client.shutdown()
    }
}

@Suite(.timeLimit(.minutes(1))) struct AttachTests {
    @Test func `output goes on where the request says, and the request that resumes it is behind what was read`()
        async throws
    {
        let (client, worker) = try await ScriptedWorker.connect(script: keeping)
        var request = AttachRequest(id: 9)
        (request.run, request.offsets) = (2, [.console: 4])
        let job = try await client.attach(request)
        #expect(job.id == 9)
        #expect(
            (job.status.state, job.status.run, job.status.label, job.status.outputBytes) == (.running, 2, "kept", 6))
        #expect(job.resumption == request)
        worker.act { $0.output(1, .console, [1, 2]) + $0.output(1, .standardError, [3]) }
        var output = job.output.makeAsyncIterator()
        #expect(try await output.next() == OutputChunk(channel: .console, bytes: [1, 2]))
        #expect(job.resumption.offsets == [.console: 6])
        #expect(try await output.next() == OutputChunk(channel: .standardError, bytes: [3]))
        #expect(job.resumption.offsets == [.console: 6, .standardError: 1] && job.resumption.run == 2)
        worker.act { $0.finished(1, JobResult(outcome: .halted)) }
        #expect(try await output.next() == nil)
        #expect(try await job.result()?.outcome == .halted)
        #expect(try await job.end() == .result(JobResult(outcome: .halted)))
        await client.shutdown()
    }

    @Test func `leaving a job lets it go on, cancelling one stops it`() async throws {
        let (client, _) = try await ScriptedWorker.connect(script: keeping)
        let left = try await client.attach(AttachRequest(id: 9))
        left.leave()
        #expect(try await left.end() == .left(.asked))
        #expect(try await left.result() == nil)
        let stopped = try await client.attach(AttachRequest(id: 9))
        stopped.cancel()
        #expect(try await stopped.result()?.outcome == .cancelled(by: .client))
        await client.shutdown()
    }

    @Test func `a task that is cancelled while it reads or waits lets go of the job`() async throws {
        let (client, _) = try await ScriptedWorker.connect(script: keeping)
        for reads in [true, false] {
            let job = try await client.attach(AttachRequest(id: 9))
            let task = Task {
                if reads { for try await _ in job.output {} }
                return try await job.end()
            }
            task.cancel()
            #expect(try await task.value == .left(.asked))
        }
        await client.shutdown()
    }

    @Test func `a job that nobody holds is let go of`() async throws {
        let (left, leaving) = AsyncStream.makeStream(of: UInt32.self)
        let (client, _) = try await ScriptedWorker.connect { order, session in
            if case .leave(let job) = order { leaving.yield(job) }
            return keeping(order, &session)
        }
        _ = try await client.attach(AttachRequest(id: 9))
        #expect(await left.first { _ in true } == 1)
        await client.shutdown()
    }

    @Test func `a job that is not kept is refused, and the connection goes on`() async throws {
        let (client, _) = try await ScriptedWorker.connect(script: keeping)
        let error = await #expect(throws: JobClientError.self) { try await client.attach(AttachRequest(id: 1000)) }
        #expect(error?.refusal?.name == "job-unknown" && error?.isRetryable == false)
        #expect(try await client.attach(AttachRequest(id: 9)).status.run == 2)
        await client.shutdown()
    }

    @Test func `a worker that shuts down lets go, and a connection that is lost says that the job goes on`()
        async throws
    {
        let (client, worker) = try await ScriptedWorker.connect(script: keeping)
        let job = try await client.attach(AttachRequest(id: 9))
        let other = try await client.attach(AttachRequest(id: 9))
        worker.act { $0.goAway(.drain) + $0.left(1, .drain) }
        #expect(try await job.end() == .left(.drain))
        worker.close()
        let error = await #expect(throws: JobClientError.self) { try await other.end() }
        #expect(error?.code == .connectionLost && error?.isRetryable == true)
        #expect(error?.message.contains("the job goes on") == true)
        await client.shutdown()
    }

    @Test func `requests beyond the worker's job limit wait for room`() async throws {
        var terms = WorkerTerms.scripted
        terms.jobLimit = 1
        let (client, _) = try await ScriptedWorker.connect(terms: terms, script: keeping)
        let first = try await client.attach(AttachRequest(id: 9))
        async let second = client.attach(AttachRequest(id: 10))
        first.leave()
        #expect(try await second.id == 10)
        await client.shutdown()
    }
}
