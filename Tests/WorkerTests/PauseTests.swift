// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import FrameStreams
import JobModel
import JobProtocol
import JobTransport
import KVMJobClient
import NIOCore
import NIOPosix
import Testing

@testable import Worker

/// A job that counts CX down from 100 and prints a letter for each, pausing after so many steps.
private func counting(_ steps: UInt64, memoryBytes: UInt64 = 1 << 20, wallTime: Duration = .seconds(20)) -> JobSpec {
    var spec = JobSpec(memoryBytes: memoryBytes, budget: Budget(steps: steps, wallTime: wallTime))
    spec.pausesWhenStepsRunOut = true
    return spec
}

/// mov cx, 100; mov al, 'a'; again: out 0xe9, al; loop again; hlt
private let letters: [UInt8] = [0xB9, 0x64, 0x00, 0xB0, 0x61, 0xE6, 0xE9, 0xE2, 0xFC, 0xF4]
private let allSteps: UInt64 = 2 + 200 + 1
/// jmp $
private let spin: [UInt8] = [0xEB, 0xFE]

extension RunningJob {
    /// The next pause, whatever the output before it.
    fileprivate func nextPause() async -> Pause? {
        var pauses = pauses.makeAsyncIterator()
        return await pauses.next()
    }
}

@Suite(.enabled(if: kvmIsUsable, "no usable /dev/kvm"), .timeLimit(.minutes(2)))
struct WorkerPauseTests {
    private func paused(_ client: JobClient, _ spec: JobSpec = counting(50)) async throws -> RunningJob {
        let job = try await client.submit(spec, image: letters)
        job.discardOutput()
        #expect(await job.nextPause()?.steps == spec.budget.steps)
        return job
    }

    private func expectSpent(_ result: JobResult, after steps: UInt64 = 50) {
        #expect(result.outcome == .exhausted(.steps, limit: steps, used: steps))
        #expect(result.steps == steps && result.meter == .exact)
        #expect(result.registers?.rcx == 100 - (steps - 2) / 2)
        #expect(result.system != nil && result.wallNanoseconds > 0 && result.exits.io > 0)
    }

    @Test func `a job that is extended again and again ends as if it had had all the steps at once`() async throws {
        let client = try await TestWorker(slots: 2).connect()
        let job = try await client.submit(counting(20), image: letters)
        async let output = job.output.reduce(into: [UInt8]()) { $0 += $1.bytes }
        var pauses: [Pause] = []
        for await pause in job.pauses {
            #expect(pause.keepNanoseconds == 30_000_000_000)
            pauses.append(pause)
            job.extend(steps: 20)
        }
        let steps: [UInt64] = [20, 40, 60, 80, 100, 120, 140, 160, 180, 200]
        #expect(pauses.map(\.steps) == steps)
        let left: [UInt64?] = [91, 81, 71, 61, 51, 41, 31, 21, 11, 1]
        #expect(pauses.map { $0.registers?.rcx } == left)
        let result = try await job.result()
        #expect(result.outcome == .halted && result.steps == allSteps && result.meter == .exact)
        #expect(result.outputBytes == 100 && result.registers?.rcx == 0)
        #expect(try await output == [UInt8](repeating: 0x61, count: 100))
    }

    @Test func `all output so far comes before the pause, however little credit there is`() async throws {
        let client = try await TestWorker().connect(outputWindow: 3)
        let job = try await client.submit(counting(60), image: letters)
        let pause = Task { await job.nextPause() }
        var output = job.output.makeAsyncIterator()
        var bytes = 0
        while bytes < 29 { bytes += try #require(try await output.next()).bytes.count }
        let rest = Task { try await job.result() }
        // The reader has to come to the pause's place.
        async let behind = output.next()
        #expect(await pause.value?.steps == 60)
        job.extend(steps: 0)
        #expect(try await behind == nil)
        let result = try await rest.value
        expectSpent(result, after: 60)
        #expect(result.outputBytes == 29)
    }

    @Test func `a paused job holds no slot`() async throws {
        let client = try await TestWorker(slots: 1).connect()
        let jobs = [try await paused(client), try await paused(client)]
        for job in jobs.reversed() { job.extend(steps: 1000) }
        for job in jobs { #expect(try await job.result().steps == allSteps) }
    }

    @Test func `an extended job waits behind the others, and time in the queue is not its wall time`() async throws {
        let client = try await TestWorker(slots: 1).connect()
        let job = try await paused(client, counting(50, wallTime: .milliseconds(400)))
        let other = try await client.submit(JobSpec(budget: Budget(wallTime: .milliseconds(500))), image: spin)
        _ = try await other.started()
        job.extend(steps: 1000)
        #expect(try await other.result().outcome.name == "wall-time-exhausted")
        let result = try await job.result()
        #expect(result.outcome == .halted && result.wallNanoseconds < 400_000_000)
    }

    @Test func `a job that nobody extends ends when its machine has been kept long enough`() async throws {
        let client = try await TestWorker(limits: WorkerLimits(pauseTime: .milliseconds(30))).connect()
        let job = try await client.submit(counting(50), image: letters)
        job.discardOutput()
        expectSpent(try await job.result())
        job.extend(steps: 5)
        #expect(try await client.submit(JobSpec(), image: [0xF4]).result().outcome == .halted, "nobody minds")
    }

    @Test func `a job that gets no more steps ends at once, with all its figures`() async throws {
        let client = try await TestWorker().connect()
        let job = try await paused(client)
        job.extend(steps: 0)
        expectSpent(try await job.result())
    }

    @Test func `a cancelled job ends where it is paused`() async throws {
        let client = try await TestWorker().connect()
        let job = try await paused(client)
        job.cancel()
        let result = try await job.result()
        #expect(result.outcome == .cancelled(by: .client))
        #expect(result.steps == 50 && result.registers?.rcx == 76)
    }

    @Test func `a job is cancelled while it waits to go on`() async throws {
        let client = try await TestWorker(slots: 1).connect()
        let job = try await paused(client)
        let other = try await client.submit(JobSpec(), image: spin)
        _ = try await other.started()
        job.extend(steps: 10)
        job.cancel()
        let result = try await job.result()
        #expect(result.outcome == .cancelled(by: .client) && result.steps == 50)
        other.cancel()
        #expect(try await other.result().outcome == .cancelled(by: .client))
    }

    @Test func `a connection that ends takes its paused jobs along`() async throws {
        let worker = try await TestWorker(slots: 1, limits: WorkerLimits(pausedJobs: 1))
        let leaving = try await worker.connect()
        _ = try await paused(leaving)
        #expect(await worker.worker.status.paused == 1)
        await leaving.shutdown()
        let client = try await worker.connect()
        // Its place is free when the machine has been closed, which the worker does behind everybody's back.
        while await worker.worker.status.paused > 0 { await Task.yield() }
        let job = try await paused(client)
        job.extend(steps: 1000)
        #expect(try await job.result().outcome == .halted)
    }

    @Test func `a drain ends paused jobs at once, and jobs that would be paused`() async throws {
        let worker = try await TestWorker(slots: 1)
        let client = try await worker.connect()
        let job = try await paused(client)
        // Long enough to be there when the drain comes: some hundred thousand steps.
        let running = try await client.submit(counting(30_000), image: spin)
        let drained = Task { await worker.worker.drain(grace: .seconds(20)) }
        expectSpent(try await job.result())
        let result = try await running.result()
        #expect(result.outcome == .exhausted(.steps, limit: 30_000, used: 30_000))
        await drained.value
    }

    @Test func `a fatal error ends paused jobs, and their results still come`() async throws {
        let (near, far) = try UnixSocket.connectedPair()
        let worker = try await TestWorker()
        Task { try await worker.worker.serve(descriptor: far) }
        let collector = FrameCollector()
        let channel = try await FramedSocket.adopt(
            descriptor: near, as: .client, frameLimit: 65_536, on: MultiThreadedEventLoopGroup.singleton
        ) { channel, _ in try channel.pipeline.syncOperations.addHandler(collector) }
        var session = ClientSession(software: "test")
        func send(_ actions: [ClientAction]) {
            for case .send(let bytes) in actions { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }
        }
        var outcome: Outcome?
        for await frame in collector.frames {
            let actions = session.receive(frame)
            send(actions)
            for action in actions {
                switch action {
                case .ready:
                    guard let submission = session.submit(counting(50), source: .image(Image(letters))) else { break }
                    send(submission.actions)
                    guard let image = session.nextImageFrame(submission.job) else { break }
                    send([.send(image)])
                case .paused(let job, _):
                    // An EXTEND for a job that never was.
                    send([.send(Message.extend(job: job + 1, Extend(steps: 1)).encode())])
                case .finished(_, let result): outcome = result.outcome
                default: break
                }
            }
        }
        #expect(outcome == .exhausted(.steps, limit: 50, used: 50))
    }

    static let bounds = [
        WorkerLimits(pausedJobs: 1), WorkerLimits(pausedJobsPerConnection: 1),
        WorkerLimits(pausedMemoryBytes: 3 << 20),
    ]

    @Test(arguments: bounds)
    func `a job beyond a bound ends where it would be paused, and one that goes on makes room`(
        _ limits: WorkerLimits
    ) async throws {
        let client = try await TestWorker(slots: 1, limits: limits).connect()
        let first = try await paused(client, counting(50, memoryBytes: 2 << 20))
        let second = try await client.submit(counting(50, memoryBytes: 2 << 20), image: letters)
        second.discardOutput()
        #expect(await second.nextPause() == nil)
        expectSpent(try await second.result())
        first.extend(steps: 1000)
        #expect(try await first.result().outcome == .halted)
        let third = try await paused(client, counting(50, memoryBytes: 2 << 20))
        third.extend(steps: 1000)
        #expect(try await third.result().outcome == .halted)
    }

    @Test func `of one connection's bound another connection notices nothing`() async throws {
        let worker = try await TestWorker(slots: 1, limits: WorkerLimits(pausedJobsPerConnection: 1))
        let jobs = [try await paused(try await worker.connect()), try await paused(try await worker.connect())]
        for job in jobs {
            job.extend(steps: 1000)
            #expect(try await job.result().outcome == .halted)
        }
    }

    @Test func `input comes to a job while it is paused, and its credit flows`() async throws {
        // again: mov dx,0x3fd; in al,dx; test al,1; jz check; mov dx,0x3f8; in al,dx; out 0xe9,al; jmp again
        // check: mov dx,0x3fe; in al,dx; test al,0x80; jnz again; hlt
        let echo: [UInt8] = [
            0xBA, 0xFD, 0x03, 0xEC, 0xA8, 0x01, 0x74, 0x08, 0xBA, 0xF8, 0x03, 0xEC, 0xE6, 0xE9, 0xEB, 0xF0,
            0xBA, 0xFE, 0x03, 0xEC, 0xA8, 0x80, 0x75, 0xE8, 0xF4,
        ]
        var spec = counting(11)
        spec.hasInput = true
        let client = try await TestWorker().connect()
        let job = try await client.submit(spec, image: echo)
        async let output = job.output.reduce(into: [UInt8]()) { $0 += $1.bytes }
        #expect(await job.nextPause() != nil)
        try await job.send(Array("abc".utf8))
        job.extend(steps: 40)
        #expect(await job.nextPause() != nil)
        try await job.send(Array("def".utf8))
        try await job.finishInput()
        job.extend(steps: 10_000)
        #expect(try await job.result().outcome == .halted)
        #expect(try await output == Array("abcdef".utf8))
    }
}
