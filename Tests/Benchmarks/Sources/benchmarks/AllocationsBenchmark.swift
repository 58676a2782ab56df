// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CAllocations
import CFloor
import Dispatch
import JobModel
import VMRuntime

/// Does a slot's thread allocate memory for a job? Counted, so one run says it; a count above zero fails.
enum AllocationsBenchmark {
    /// Jobs that warm the slot up, and jobs that are counted.
    private static let (warm, counted) = (64, 256)

    static func run() async throws {
        let counts = try countsAtEnds()
        let each = zip(counts, counts.dropFirst()).map { $1 - $0 }.dropFirst(warm)
        let spread = Spread(each.map(Double.init))
        print("\nallocations: \(spread.text(0)) on the slot's thread for each of \(each.count) hello jobs (goal 0)")
        guard each.allSatisfy({ $0 == 0 }) else {
            throw BenchmarkError("a slot's thread allocated memory for a job")
        }
    }

    /// The slot's thread's count at each job's end. All jobs are there before the first one runs.
    private static func countsAtEnds() throws -> [UInt64] {
        let backend = try Backend()
        let queue = ReadyQueue(backend: backend)
        let job = try AdmittedJob(
            image: Guest.hello.image, spec: JobSpec(mode: Guest.hello.mode), on: backend.profile, reusesMachine: true)
        let done = DispatchSemaphore(value: 0)
        let number = warm + counted
        nonisolated(unsafe) let counts = UnsafeMutablePointer<UInt64>.allocate(capacity: number)
        counts.initialize(repeating: 0, count: number)
        defer { counts.deallocate() }
        for index in 0..<number {
            let control = JobControl(hasInput: false)
            control.grantOutput(1 << 16)
            queue.start(job, control: control) { event in
                guard case .finished = event else { return }
                counts[index] = allocations_of_thread()
                if index == number - 1 { done.signal() }
            }
        }
        let slot = Slot(number: 0, serving: queue)
        done.wait()
        slot.stop()
        return Array(UnsafeBufferPointer(start: counts, count: number))
    }
}
