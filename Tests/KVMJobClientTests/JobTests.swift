// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import JobTransport
import KVMJobClient
import Testing

/// Accepts and starts every job, and does nothing more.
private let starting: ScriptedWorker.Script = { order, session in
    if case .submit(let job, _, _) = order { session.run(job) } else { [] }
}

@Suite(.timeLimit(.minutes(1))) struct JobTests {
    @Test func `a job gives its output and then its one result`() async throws {
        var end = JobResult(outcome: .exited(code: 7))
        (end.steps, end.meter, end.outputBytes) = (5, .exact, 2)
        let (client, _) = try await ScriptedWorker.connect { [end] order, session in
            guard case .submit(let job, let spec, .image(let image)) = order else { return [] }
            #expect(spec.label == "hello" && image.bytes == [0xF4])
            return session.accepted(job, Acceptance(queuePosition: 3)) + session.started(job, queueNanoseconds: 9)
                + session.output(job, .console, [0x68]) + session.output(job, .portWrites, [1, 2])
                + session.output(job, .console, [0x69]) + session.finished(job, end)
        }
        let job = try await client.submit(JobSpec(label: "hello", budget: Budget(steps: 5)), image: [0xF4])
        #expect(job.queuePosition == 3)
        let start = try await job.started()
        #expect(start?.queueNanoseconds == 9 && start?.stepBudget == 5 && start?.memoryBytes == 16 << 20)
        var chunks: [OutputChunk] = []
        for try await chunk in job.output { chunks.append(chunk) }
        #expect(chunks.map(\.channel) == [.console, .portWrites, .console])
        #expect(chunks.map(\.bytes) == [[0x68], [1, 2], [0x69]])
        #expect(try await job.result() == end)
        #expect(try await job.result() == end, "the result can be asked for again")
        await client.shutdown()
    }

    @Test func `a refusal keeps its parts`() async throws {
        let (client, _) = try await ScriptedWorker.connect { order, session in
            guard case .submit(let job, _, _) = order else { return [] }
            return session.refused(job, Refusal(.queueFull, "8 jobs wait", limit: 8, value: 9))
        }
        let error = await #expect(throws: JobClientError.self) { try await client.submit(JobSpec(), image: [1]) }
        #expect(error?.code == .refused && error?.isRetryable == true && error?.message == "8 jobs wait")
        let refusal = try #require(error?.refusal)
        #expect(refusal.code == 74 && refusal.name == "queue-full" && refusal.limit == 8 && refusal.value == 9)
        await client.shutdown()
    }

    @Test func `a job that no SUBMIT can hold is refused, and the next one runs`() async throws {
        let (client, _) = try await ScriptedWorker.connect(script: starting)
        var spec = JobSpec()
        spec.pieces = (0...MemoryRange.pieceLimit).map { MemoryRange(address: UInt64($0), count: 1) }
        let tooMany = spec
        let error = await #expect(throws: JobClientError.self) { try await client.submit(tooMany, image: [1]) }
        #expect(error?.code == .refused && error?.refusal?.name == "invalid-field" && error?.refusal?.limit == 1024)
        let job = try await client.submit(JobSpec(), image: [1])
        #expect(try await job.started() != nil)
        await client.shutdown()
    }

    @Test func `output that nobody reads gives no credit back`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(outputWindow: 8, script: starting)
        let job = try await client.submit(JobSpec(), image: [1])
        worker.act { $0.output(1, .console, [1, 2, 3, 4]) + $0.output(1, .console, [5, 6, 7, 8]) }
        var orders = worker.orders.makeAsyncIterator()
        #expect(await orders.next() == .submit(job: 1, spec: JobSpec(), source: .image(Image([1]))))
        #expect(await orders.next() == .credit(job: 1, bytes: 8))
        var output = job.output.makeAsyncIterator()
        #expect(try await output.next()?.bytes == [1, 2, 3, 4])
        #expect(await orders.next() == .credit(job: 1, bytes: 4), "half a window was read")
        #expect(try await output.next()?.bytes == [5, 6, 7, 8])
        #expect(await orders.next() == .credit(job: 1, bytes: 4))
        await client.shutdown()
    }

    @Test func `dropped output gives its credit back, what has come and what comes`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(outputWindow: 4) { order, session in
            switch order {
            case .submit(let job, _, _): return session.run(job)
            case .credit(let job, let bytes):
                return session.output(job, .console, [UInt8](repeating: 0, count: bytes))
            case .input, .cancel, .extend, .attach, .leave, .lookUp, .lookUpLayers, .send, .stopReading, .close, .query,
                .stop,
                .sendAnswer:
                return []
            }
        }
        let job = try await client.submit(JobSpec(), image: [1])
        job.discardOutput()
        var credits = 0
        for await case .credit in worker.orders {
            credits += 1
            if credits == 20 { break }
        }
        worker.act { $0.finished(1, JobResult(outcome: .halted)) }
        #expect(try await job.result().outcome == .halted)
        await client.shutdown()
    }

    @Test func `a job beyond the job limit waits here until another has ended`() async throws {
        var terms = WorkerTerms.scripted
        terms.jobLimit = 1
        let (client, worker) = try await ScriptedWorker.connect(terms: terms, script: starting)
        let first = try await client.submit(JobSpec(label: "first"), image: [1])
        let second = Task { try await client.submit(JobSpec(label: "second"), image: [2]) }
        var orders = worker.orders.makeAsyncIterator()
        #expect(await orders.next() == .submit(job: 1, spec: JobSpec(label: "first"), source: .image(Image([1]))))
        #expect(await orders.next() == .credit(job: 1, bytes: 64))
        first.cancel()
        #expect(await orders.next() == .cancel(job: 1, .client), "no second SUBMIT came before")
        worker.act { $0.finished(1, JobResult(outcome: .cancelled(by: .client))) }
        #expect(await orders.next() == .submit(job: 2, spec: JobSpec(label: "second"), source: .image(Image([2]))))
        #expect(try await first.result().outcome == .cancelled(by: .client))
        _ = try await second.value
        await client.shutdown()
    }

    @Test(arguments: [1, 40])
    func `many tasks share a client and each gets its own result`(jobLimit: UInt32) async throws {
        var terms = WorkerTerms.scripted
        terms.jobLimit = jobLimit
        let (client, _) = try await ScriptedWorker.connect(terms: terms) { order, session in
            guard case .submit(let job, _, .image(let image)) = order else { return [] }
            return session.run(job) + session.output(job, .console, image.bytes)
                + session.finished(job, JobResult(outcome: .exited(code: UInt32(image.bytes.count))))
        }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for size in 1...60 {
                group.addTask {
                    let image = [UInt8](repeating: UInt8(size), count: size)
                    let job = try await client.submit(JobSpec(), image: image)
                    var bytes: [UInt8] = []
                    for try await chunk in job.output { bytes += chunk.bytes }
                    let result = try await job.result()
                    return bytes == image && result.outcome == .exited(code: UInt32(size))
                }
            }
            for try await isRight in group { #expect(isRight) }
        }
        await client.shutdown()
    }

    @Test func `a large image arrives whole`() async throws {
        let image = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        let (client, _) = try await ScriptedWorker.connect { order, session in
            if case .lookUp(let job, _, _) = order { return session.imageWanted(job) }
            guard case .submit(let job, _, .image(let sent)) = order else { return [] }
            let outcome: Outcome = sent.bytes == image ? .halted : .tripleFault
            return session.run(job) + session.finished(job, JobResult(outcome: outcome))
        }
        let job = try await client.submit(JobSpec(), image: image)
        #expect(try await job.result().outcome == .halted)
        await client.shutdown()
    }

    @Test func `input waits for the guest to read`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: starting)
        let job = try await client.submit(JobSpec(hasInput: true), image: [1])
        let bytes = [UInt8](0..<40)
        let sending = Task {
            try await job.send(bytes)
            try await job.finishInput()
        }
        var (read, hasEnded) = ([UInt8](), false)
        for await case .input(job: 1, let bytes, let end) in worker.orders {
            #expect(bytes.count <= 16, "never beyond the worker's window")
            read += bytes
            hasEnded = end
            worker.act { [count = bytes.count] in $0.inputConsumed(1, count) }
            if end { break }
        }
        try await sending.value
        #expect(read == bytes && hasEnded)
        let error = await #expect(throws: JobClientError.self) { try await job.send([1]) }
        #expect(error?.code == .inputNotTaken)
        await client.shutdown()
    }

    @Test func `input that a job did not take is an error`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: starting)
        let job = try await client.submit(JobSpec(hasInput: true), image: [1])
        let sending = Task { try await job.send([UInt8](repeating: 1, count: 100)) }
        for await case .input in worker.orders { break }
        worker.act { $0.finished(1, JobResult(outcome: .halted)) }
        let error = await #expect(throws: JobClientError.self) { try await sending.value }
        #expect(error?.code == .inputNotTaken)
        #expect(try await job.result().outcome == .halted)
        await client.shutdown()
    }

    @Test func `a job can be submitted together with its input`() async throws {
        let (client, _) = try await ScriptedWorker.connect { order, session in
            switch order {
            case .submit(let job, let spec, _):
                #expect(spec.hasInput)
                return session.run(job)
            case .input(let job, let bytes, let end):
                let output = session.output(job, .console, bytes) + session.inputConsumed(job, bytes.count)
                return end ? output + session.finished(job, JobResult(outcome: .halted)) : output
            case .credit, .cancel, .extend, .attach, .leave, .lookUp, .lookUpLayers, .send, .stopReading, .close,
                .query, .stop,
                .sendAnswer:
                return []
            }
        }
        let input = [UInt8](0..<50)
        let job = try await client.submit(JobSpec(), image: [1], input: input)
        var echo: [UInt8] = []
        for try await chunk in job.output { echo += chunk.bytes }
        #expect(echo == input)
        await client.shutdown()
    }
}

@Suite(.timeLimit(.minutes(1))) struct EndTests {
    /// Starts jobs, and ends them when they are cancelled.
    private static let cancellable: ScriptedWorker.Script = { order, session in
        switch order {
        case .submit(let job, _, _): session.run(job)
        case .cancel(let job, let canceller): session.finished(job, JobResult(outcome: .cancelled(by: canceller)))
        case .credit, .input, .extend, .attach, .leave, .lookUp, .lookUpLayers, .send, .stopReading, .close, .query,
            .stop,
            .sendAnswer:
            []
        }
    }

    @Test func `cancelling the task that waits for the result cancels the job and keeps its result`() async throws {
        let (client, _) = try await ScriptedWorker.connect(script: Self.cancellable)
        let job = try await client.submit(JobSpec(), image: [1])
        let waiting = Task { try await job.result() }
        waiting.cancel()
        #expect(try await waiting.value.outcome == .cancelled(by: .client))
        await client.shutdown()
    }

    @Test func `cancelling the task that reads the output cancels the job and ends the output`() async throws {
        let (client, _) = try await ScriptedWorker.connect(script: Self.cancellable)
        let job = try await client.submit(JobSpec(), image: [1])
        let reading = Task { for try await _ in job.output {} }
        reading.cancel()
        try await reading.value
        #expect(try await job.result().outcome == .cancelled(by: .client))
        await client.shutdown()
    }

    @Test func `a submission that waits for room can be taken back`() async throws {
        var terms = WorkerTerms.scripted
        terms.jobLimit = 1
        let (client, worker) = try await ScriptedWorker.connect(terms: terms, script: starting)
        let first = try await client.submit(JobSpec(), image: [1])
        let second = Task { try await client.submit(JobSpec(), image: [2]) }
        second.cancel()
        await #expect(throws: CancellationError.self) { try await second.value }
        worker.act { $0.finished(1, JobResult(outcome: .halted)) }
        _ = try await first.result()
        let third = try await client.submit(JobSpec(), image: [3])
        var images: [[UInt8]] = []
        for await case .submit(_, _, .image(let image)) in worker.orders {
            images.append(image.bytes)
            if images.count == 2 { break }
        }
        #expect(images == [[1], [3]], "the second was never submitted")
        third.cancel()
        await client.shutdown()
    }

    @Test func `an upload can be taken back`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: Self.cancellable)
        try await worker.pause(true)
        let upload = Task { try await client.submit(JobSpec(), image: [UInt8](repeating: 1, count: 8 << 20)) }
        upload.cancel()
        try await worker.pause(false)
        await #expect(throws: CancellationError.self) { try await upload.value }
        let next = try await client.submit(JobSpec(label: "next"), image: [2])
        for await case .submit(_, let spec, _) in worker.orders {
            #expect(spec.label == "next", "the first never was a job")
            break
        }
        next.cancel()
        await client.shutdown()
    }

    @Test func `a lost connection fails everything that waits`() async throws {
        var terms = WorkerTerms.scripted
        terms.jobLimit = 1
        let (client, worker) = try await ScriptedWorker.connect(terms: terms, script: starting)
        let job = try await client.submit(JobSpec(hasInput: true), image: [1])
        let waiting = Task { try await client.submit(JobSpec(), image: [2]) }
        let sending = Task { try await job.send([UInt8](repeating: 1, count: 100)) }
        for await case .input in worker.orders { break }
        worker.close()
        var codes: [JobClientError.Code] = []
        do { _ = try await job.result() } catch let error as JobClientError { codes.append(error.code) }
        do { for try await _ in job.output {} } catch let error as JobClientError { codes.append(error.code) }
        do { _ = try await waiting.value } catch let error as JobClientError { codes.append(error.code) }
        do { _ = try await client.submit(JobSpec(), image: [3]) } catch let error as JobClientError {
            codes.append(error.code)
        }
        #expect(codes == [.connectionLost, .connectionLost, .connectionLost, .connectionLost])
        await #expect(throws: JobClientError.self) { try await sending.value }
    }

    @Test func `a worker that drains gives results and takes no jobs`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: starting)
        let job = try await client.submit(JobSpec(), image: [1])
        worker.act { $0.goAway(.drain) + $0.output(1, .console, [1]) }
        var output = job.output.makeAsyncIterator()
        _ = try await output.next()
        let error = await #expect(throws: JobClientError.self) { try await client.submit(JobSpec(), image: [2]) }
        #expect(error?.code == .goingAway && error?.isRetryable == true)
        worker.act { $0.finished(1, JobResult(outcome: .halted)) }
        #expect(try await job.result().outcome == .halted)
    }

    @Test func `a job that a worker on its way out did not take is no lost job`() async throws {
        // It hears of both jobs, and answers neither.
        let (client, worker) = try await ScriptedWorker.connect { _, _ in [] }
        let jobs = (0..<2).map { _ in Task { try await client.submit(JobSpec(), image: [1]) } }
        var orders = worker.orders.makeAsyncIterator()
        for _ in jobs { _ = await orders.next() }
        worker.send(Message.goAway(GoAway(.drain, lastJob: 1)).encode())
        worker.close()
        var codes: Set<JobClientError.Code> = []
        for job in jobs {
            let error = await #expect(throws: JobClientError.self) { try await job.value }
            codes.insert(try #require(error).code)
            #expect(error?.isRetryable == true)
        }
        #expect(codes == [.connectionLost, .goingAway], "of the first, nobody knows")
    }

    @Test func `a worker that failed still gives the results that it owes`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: starting)
        let job = try await client.submit(JobSpec(), image: [1])
        worker.act { $0.framingFailed(WireError(.internal, "a bug")) + $0.output(1, .console, [1]) }
        var output = job.output.makeAsyncIterator()
        _ = try await output.next()
        let error = await #expect(throws: JobClientError.self) { try await client.submit(JobSpec(), image: [2]) }
        #expect(error?.code == .workerFailed)
        worker.act { $0.finished(1, JobResult(outcome: .tripleFault)) }
        #expect(try await job.result().outcome == .tripleFault)
    }

    @Test func `a worker that breaks the specification loses its jobs`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: starting)
        let job = try await client.submit(JobSpec(), image: [1])
        worker.send(Message.accepted(job: 1, Acceptance()).encode())
        let error = await #expect(throws: JobClientError.self) { try await job.result() }
        #expect(error?.code == .protocolViolation)
        var last: ServerAction?
        for await order in worker.orders { last = order }
        #expect(last == .cancel(job: 1, .disconnect))
    }

    @Test func `shutdown fails what runs, and the worker cancels it`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: starting)
        let job = try await client.submit(JobSpec(), image: [1])
        await client.shutdown()
        let error = await #expect(throws: JobClientError.self) { try await job.result() }
        #expect(error?.code == .shutDown)
        var last: ServerAction?
        for await order in worker.orders { last = order }
        #expect(last == .cancel(job: 1, .disconnect))
        await client.shutdown()
    }

    @Test func `a client that nobody holds closes its connection, but a job holds it`() async throws {
        let (ours, theirs) = try UnixSocket.connectedPair()
        let worker = try await ScriptedWorker(descriptor: ours, script: Self.cancellable)
        var job: RunningJob? = try await JobClient.connect(descriptor: theirs).submit(JobSpec(), image: [1])
        job?.cancel()
        #expect(try await job?.result().outcome == .cancelled(by: .client))
        job = nil
        for await _ in worker.orders {}
    }
}
