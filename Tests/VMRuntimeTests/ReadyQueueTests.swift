// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import KVM
import NIOConcurrencyHelpers
import Testing

@testable import VMRuntime

@Suite("The line before the slots", .enabled(if: Hardware.isThere, "no usable /dev/kvm"), .timeLimit(.minutes(1)))
struct ReadyQueueTests {
    /// hlt
    private let halt: [UInt8] = [0xF4]
    /// jmp $
    private let spin: [UInt8] = [0xEB, 0xFE]

    /// A job in a line, and what is told of it.
    private struct Started {
        let control = JobControl(hasInput: false)
        let events: AsyncStream<JobEvent>

        init(_ image: [UInt8], in queue: ReadyQueue) throws {
            let spec = JobSpec(budget: Budget(wallTime: .seconds(50)))
            let job = try AdmittedJob(image: image, spec: spec, on: queue.backend.profile)
            let (events, teller) = AsyncStream.makeStream(of: JobEvent.self)
            self.events = events
            queue.start(job, control: control) { event in
                teller.yield(event)
                if case .finished = event { teller.finish() }
            }
        }

        func outcome() async -> Outcome? {
            for await case .finished(let result) in events { return result.outcome }
            return nil
        }
    }

    @Test func `any slot that is free takes the next job, so that nobody waits behind an endless guest`() async throws {
        let queue = ReadyQueue(backend: try Hardware.backend.get())
        let slots = (0..<2).map { Slot(number: $0, serving: queue) }
        let endless = try Started(spin, in: queue)
        let jobs = try (0..<5).map { _ in try Started(halt, in: queue) }
        for job in jobs { #expect(await job.outcome() == .halted) }
        endless.control.cancel(.client)
        #expect(await endless.outcome() == .cancelled(by: .client))
        slots.forEach { $0.stop() }
    }

    @Test func `a job can be taken back until a slot has it, and those behind it come all the same`() async throws {
        let queue = ReadyQueue(backend: try Hardware.backend.get())
        let running = try Started(spin, in: queue)
        let slot = Slot(number: 0, serving: queue)
        for await _ in running.events { break }
        let (taken, last) = (try Started(halt, in: queue), try Started(halt, in: queue))
        #expect(queue.count == 2)
        #expect(!queue.withdraw(running.control), "it has started")
        #expect(queue.withdraw(taken.control))
        #expect(!queue.withdraw(taken.control), "once")
        running.control.cancel(.client)
        #expect(await last.outcome() == .halted)
        #expect(!queue.withdraw(last.control), "it has ended")
        #expect(queue.count == 0)
        slot.stop()
    }

    @Test func `a slot that polls before it sleeps runs what comes then and later`() async throws {
        let queue = ReadyQueue(backend: try Hardware.backend.get(), spin: .milliseconds(1))
        let slot = Slot(number: 0, serving: queue)
        for _ in 0..<20 { #expect(try await Started(halt, in: queue).outcome() == .halted) }
        slot.stop()
    }
}

@Suite("An alarm that is left behind", .enabled(if: Hardware.isThere, "no usable /dev/kvm"), .timeLimit(.minutes(1)))
struct LeftAlarmTests {
    @Test func `the next job's deadline holds, whether it is before or behind the last one's`() async throws {
        let slot = Slot(number: 0, backend: try Hardware.backend.get())
        defer { slot.stop() }
        // hlt: leaves the alarm of its deadline, which is behind all the next one's, or before some of them.
        let halt: [UInt8] = [0xF4]
        for limit in [Duration.milliseconds(30), .milliseconds(3), .milliseconds(60)] {
            for left in [Duration.seconds(50), .milliseconds(5)] {
                let first = try await Run.of(halt, JobSpec(budget: Budget(wallTime: left)), slot: slot)
                #expect(try first.result.outcome == .halted)
                let budget = Budget(wallTime: limit)
                let result = try await Run.of([0xEB, 0xFE], JobSpec(budget: budget), slot: slot).result
                #expect(result.outcome.name == "wall-time-exhausted")
                #expect(result.wallNanoseconds >= limit.wholeNanoseconds)
                #expect(result.wallNanoseconds < Duration.seconds(20).wholeNanoseconds, "not the last job's deadline")
            }
        }
    }
}
