// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import Foundation
import JobModel
import JobProtocol
import JobTransport
import KVM
import KVMJobClient
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import Worker

/// Whether this machine can run guests; says why not.
let kvmIsUsable: Bool = {
    do throws(KVMError) {
        _ = try Hypervisor()
        return true
    } catch {
        print("WorkerTests did not run: \(error)")
        return false
    }
}()

/// A whole worker in this process, as the daemon and the command line's embedded mode make it.
struct TestWorker {
    let worker: Worker

    init(
        slots: Int = 2, machines: MachinePolicy = .pooled, limits: WorkerLimits = WorkerLimits(), spin: Duration = .zero
    ) async throws {
        var settings = WorkerConfiguration(slots: slots, machines: machines, jobLogging: .none, limits: limits)
        settings.spin = spin
        let configuration = settings
        worker = try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "test.start").async {
                continuation.resume(
                    with: Result {
                        try Worker(
                            configuration: configuration, group: MultiThreadedEventLoopGroup.singleton,
                            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
                    })
            }
        }
    }

    func connect(outputWindow: UInt32 = JobClient.defaultOutputWindow) async throws -> JobClient {
        let (near, far) = try UnixSocket.connectedPair()
        Task { try await worker.serve(descriptor: far) }
        return try await .connect(descriptor: near, outputWindow: outputWindow)
    }
}

extension RunningJob {
    /// Everything that the guest wrote to its console.
    fileprivate func console() async throws -> [UInt8] {
        var bytes: [UInt8] = []
        for try await chunk in output where chunk.channel == .console { bytes += chunk.bytes }
        return bytes
    }
}

@Suite("The worker, over a socket", .enabled(if: kvmIsUsable, "no usable /dev/kvm"), .timeLimit(.minutes(2)))
struct WorkerTests {
    /// mov ax, '4'; out 0xe9, al; hlt
    private let hello: [UInt8] = [0xB8, 0x34, 0x00, 0xE6, 0xE9, 0xF4]
    /// jmp $
    private let spin: [UInt8] = [0xEB, 0xFE]
    /// mov cx, 1000; again: out 0xe9, al; inc ax; loop again; hlt
    private let thousand: [UInt8] = [0xB9, 0xE8, 0x03, 0xE6, 0xE9, 0x40, 0xE2, 0xFB, 0xF4]

    @Test("A job's output and result come back, on any of its connections")
    func hello() async throws {
        let worker = try await TestWorker()
        for _ in 0..<3 {
            let client = try await worker.connect()
            let job = try await client.submit(JobSpec(), image: hello)
            #expect(try await job.console() == [0x34])
            let result = try await job.result()
            #expect(result.outcome == .halted)
            #expect(result.registers?.rax == 0x34)
            await client.shutdown()
        }
    }

    @Test("More jobs than slots all end, and each has its own output")
    func many() async throws {
        let client = try await TestWorker().connect()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<50 {
                group.addTask {
                    let image: [UInt8] = [0xB0, UInt8(number), 0xE6, 0xE9, 0xF4]
                    let job = try await client.submit(JobSpec(), image: image)
                    #expect(try await job.console() == [UInt8(number)])
                }
            }
            try await group.waitForAll()
        }
    }

    @Test("A client that gives little credit gets every byte, and the result behind them", arguments: [1, 7, 100])
    func smallWindow(window: UInt32) async throws {
        let client = try await TestWorker().connect(outputWindow: window)
        let job = try await client.submit(JobSpec(), image: thousand)
        #expect(try await job.console() == (0..<1000).map { UInt8(truncatingIfNeeded: $0) })
        let result = try await job.result()
        #expect(result.outcome == .halted)
        #expect(result.outputBytes == 1000)
    }

    @Test("A guest whose client does not read waits at most for its wall time, and its neighbour does not wait")
    func stalledReader() async throws {
        let worker = try await TestWorker(slots: 2)
        let client = try await worker.connect(outputWindow: 16)
        // again: out 0xe9, al; jmp again
        let flood = try await client.submit(
            JobSpec(budget: Budget(wallTime: .milliseconds(200))), image: [0xE6, 0xE9, 0xEB, 0xFC])
        let other = try await client.submit(JobSpec(), image: hello)
        #expect(try await other.console() == [0x34])
        // Reading frees the last bytes, and the result that waits behind them.
        let bytes = try await flood.console()
        let result = try await flood.result()
        #expect(result.outcome.name == "wall-time-exhausted")
        #expect(result.outputBytes == UInt64(bytes.count))
    }

    @Test("A cancelled job has its result; so has one that waits in the queue")
    func cancel() async throws {
        let client = try await TestWorker(slots: 1).connect()
        let running = try await client.submit(JobSpec(), image: spin)
        let queued = try await client.submit(JobSpec(), image: spin)
        queued.cancel()
        #expect(try await queued.result().outcome == .cancelled(by: .client))
        running.cancel()
        #expect(try await running.result().outcome == .cancelled(by: .client))
    }

    @Test(
        "Jobs that were given to the slots ahead of their turn are served by whichever slot is free, and can be cancelled"
    )
    func ahead() async throws {
        let client = try await TestWorker(slots: 2).connect()
        let endless = try await client.submit(JobSpec(budget: Budget(wallTime: .seconds(60))), image: spin)
        for _ in 0..<2 {
            var jobs: [RunningJob] = []
            for _ in 0..<(3 * WorkerLimits.jobsAheadPerSlot) {
                jobs.append(try await client.submit(JobSpec(), image: hello))
            }
            for job in jobs { #expect(try await job.console() == [0x34]) }
        }
        let other = try await client.submit(JobSpec(budget: Budget(wallTime: .seconds(60))), image: spin)
        _ = try await other.started()
        var waiting: [RunningJob] = []
        for _ in 0..<(3 * WorkerLimits.jobsAheadPerSlot) {
            waiting.append(try await client.submit(JobSpec(), image: spin))
        }
        for job in waiting.reversed() {
            job.cancel()
            #expect(try await job.result().outcome == .cancelled(by: .client))
        }
        for job in [endless, other] {
            job.cancel()
            #expect(try await job.result().outcome == .cancelled(by: .client))
        }
    }

    @Test("A worker that polls before it sleeps serves like any other")
    func polling() async throws {
        let client = try await TestWorker(spin: .milliseconds(1)).connect()
        for _ in 0..<20 {
            let job = try await client.submit(JobSpec(), image: hello)
            #expect(try await job.console() == [0x34])
            #expect(try await job.result().outcome == .halted)
        }
    }

    @Test("A worker that polls reads its sockets meanwhile")
    func pollingAndReading() async throws {
        let worker = try await TestWorker(slots: 1, spin: .seconds(60))
        let client = try await worker.connect()
        let job = try await client.submit(JobSpec(budget: Budget(wallTime: .seconds(20))), image: spin)
        _ = try await job.started()
        let other = try await worker.connect()
        let next = try await other.submit(JobSpec(), image: hello)
        job.cancel()
        #expect(try await job.result().outcome == .cancelled(by: .client), "not its wall time ended it")
        #expect(try await next.result().outcome == .halted)
    }

    @Test("A cancelled job's result does not wait for a client that reads nothing")
    func cancelUnread() async throws {
        let client = try await TestWorker(slots: 1).connect(outputWindow: 1)
        let waiting = try await client.submit(JobSpec(), image: thousand)
        _ = try await waiting.started()
        waiting.cancel()
        #expect(try await waiting.result().outcome.name != "host-error")
        let drained = try await client.submit(JobSpec(), image: hello)
        #expect(try await drained.result().outcome == .halted)
    }

    @Test("A client that goes away frees its slot")
    func disconnect() async throws {
        let worker = try await TestWorker(slots: 1)
        let leaving = try await worker.connect()
        let job = try await leaving.submit(JobSpec(budget: Budget(wallTime: .seconds(60))), image: spin)
        _ = try await job.started()
        await leaving.shutdown()
        let next = try await worker.connect()
        #expect(try await next.submit(JobSpec(), image: hello).console() == [0x34])
    }

    @Test("Input reaches the guest, and DCD tells its end")
    func input() async throws {
        // again: mov dx,0x3fd; in al,dx; test al,1; jz check; mov dx,0x3f8; in al,dx; out 0xe9,al; jmp again
        // check: mov dx,0x3fe; in al,dx; test al,0x80; jnz again; hlt
        let echo: [UInt8] = [
            0xBA, 0xFD, 0x03, 0xEC, 0xA8, 0x01, 0x74, 0x08, 0xBA, 0xF8, 0x03, 0xEC, 0xE6, 0xE9, 0xEB, 0xF0,
            0xBA, 0xFE, 0x03, 0xEC, 0xA8, 0x80, 0x75, 0xE8, 0xF4,
        ]
        let client = try await TestWorker().connect()
        let job = try await client.submit(JobSpec(hasInput: true), image: echo)
        try await job.send(Array("abc".utf8))
        try await job.send(Array("def".utf8))
        try await job.finishInput()
        #expect(try await String(decoding: job.console(), as: UTF8.self) == "abcdef")
        #expect(try await job.result().outcome == .halted)
    }

    @Test("A refusal names its rule, and the connection goes on")
    func refusal() async throws {
        let client = try await TestWorker().connect()
        let specs = [
            (JobSpec(mode: .long64, memoryBytes: 1 << 20), "image-outside-memory"),
            (JobSpec(entryPoint: 1 << 40), "entry-outside-memory"),
            (JobSpec(mode: .user64, loadAddress: 0x9_0000), "image-overlaps-system-area"),
        ]
        for (spec, rule) in specs {
            let error = await #expect(throws: JobClientError.self) { try await client.submit(spec, image: hello) }
            #expect(error?.refusal?.name == rule)
        }
        #expect(try await client.submit(JobSpec(), image: hello).console() == [0x34])
    }

    @Test("A full queue refuses, and says that a later try can work")
    func queueLimit() async throws {
        let client = try await TestWorker(slots: 1, limits: WorkerLimits(queuedJobs: 1)).connect()
        let running = try await client.submit(JobSpec(), image: spin)
        let queued = try await client.submit(JobSpec(), image: spin)
        let error = await #expect(throws: JobClientError.self) { try await client.submit(JobSpec(), image: spin) }
        #expect(error?.refusal?.name == "queue-full")
        #expect(error?.isRetryable == true)
        queued.cancel()
        running.cancel()
        _ = try await running.result()
    }

    @Test("Images that are still arriving are bounded over all connections")
    func uploadLimit() async throws {
        let worker = try await TestWorker(limits: WorkerLimits(uploadBytes: 1000))
        let client = try await worker.connect()
        let large = [UInt8](repeating: 0xF4, count: 1001)
        let error = await #expect(throws: JobClientError.self) { try await client.submit(JobSpec(), image: large) }
        #expect(error?.refusal?.name == "queue-full")
        for _ in 0..<3 {
            let job = try await client.submit(JobSpec(), image: [UInt8](repeating: 0xF4, count: 1000))
            #expect(try await job.result().outcome == .halted)
        }
    }

    @Test("One connection too many is told so")
    func connectionLimit() async throws {
        let worker = try await TestWorker(limits: WorkerLimits(connections: 1))
        let first = try await worker.connect()
        await #expect(throws: JobClientError.self) { try await worker.connect() }
        #expect(try await first.submit(JobSpec(), image: hello).console() == [0x34])
    }

    @Test("A drain lets jobs finish, refuses new ones, and stops what outlasts its grace")
    func drain() async throws {
        let worker = try await TestWorker(slots: 1)
        let client = try await worker.connect()
        var jobs = [try await client.submit(JobSpec(budget: Budget(wallTime: .seconds(60))), image: spin)]
        for _ in 0..<20 { jobs.append(try await client.submit(JobSpec(), image: hello)) }
        let drained = Task { await worker.worker.drain(grace: .milliseconds(50)) }
        for job in jobs { #expect(try await job.result().outcome == .cancelled(by: .drain)) }
        await drained.value
        #expect(await worker.worker.status.isDraining)
        await #expect(throws: JobClientError.self) { try await client.submit(JobSpec(), image: hello) }
    }

    @Test("A worker that seemed idle goes on listening if a client has come")
    func stopListeningIfIdle() async throws {
        let worker = try await TestWorker()
        let folder = FileManager.default.temporaryDirectory.appending(path: "kvmjob-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "socket").path
        try await worker.worker.listen(path: path)
        let first = try await JobClient.connect(path: path)
        #expect(await !worker.worker.stopListeningIfIdle())
        let second = try await JobClient.connect(path: path)
        for client in [first, second] {
            #expect(try await client.submit(JobSpec(), image: hello).result().outcome == .halted)
            await client.shutdown()
        }
        // The worker sees the ends of connections as its loop comes to them.
        while await worker.worker.status.idleSince == nil { await Task.yield() }
        #expect(await worker.worker.stopListeningIfIdle())
        await #expect(throws: JobClientError.self) { try await JobClient.connect(path: path) }
    }

    @Test("A drain gives results to clients that read nothing")
    func drainUnread() async throws {
        let worker = try await TestWorker(slots: 1)
        let client = try await worker.connect(outputWindow: 1)
        let ended = try await client.submit(JobSpec(), image: [0xB0, 0x41, 0xE6, 0xE9, 0xE6, 0xE9, 0xF4])
        let flood = try await client.submit(
            JobSpec(budget: Budget(wallTime: .seconds(60))), image: [0xE6, 0xE9, 0xEB, 0xFC])
        _ = try await flood.started()
        await worker.worker.drain(grace: .milliseconds(10))
        #expect(try await ended.result().outcome == .halted)
        #expect(try await flood.result().outcome == .cancelled(by: .drain))
    }

    @Test(
        "Every budget reaches the guest, and what was used of it comes back",
        arguments: [
            (Budget(cpuTime: .milliseconds(3)), "cpu-time"), (Budget(exits: 10), "exits"),
            (Budget(outputBytes: 100), "output"), (Budget(touchedBytes: 1), "memory"),
        ])
    func budgets(budget: Budget, name: String) async throws {
        let client = try await TestWorker().connect(outputWindow: 1)
        // again: out 0xe9, al; jmp again; or, for CPU time, which a guest that waits does not use, jmp $
        let image: [UInt8] = budget.cpuTime == nil ? [0xE6, 0xE9, 0xEB, 0xFC] : spin
        let job = try await client.submit(JobSpec(budget: budget), image: image)
        let bytes = try await job.console()
        let result = try await job.result()
        #expect(result.outcome.name == "\(name)-exhausted")
        #expect(result.outputBytes == UInt64(bytes.count))
        #expect((result.touchedBytes != nil) == (budget.touchedBytes != nil))
        #expect(result.cpuNanoseconds > 0)
    }

    @Test("Slots outside their range are refused")
    func slots() async throws {
        await #expect(throws: WorkerStartError.slots(0)) { try await TestWorker(slots: 0) }
        await #expect(throws: WorkerStartError.slots(129)) { try await TestWorker(slots: 129) }
    }
}
