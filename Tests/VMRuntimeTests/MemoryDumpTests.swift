// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import KVM
import Testing

@testable import VMRuntime

extension Run {
    /// Runs a job, in a slot of its own unless one is named, and does something whenever it is paused.
    static func of(
        _ image: [UInt8], _ spec: JobSpec, slot: Slot? = nil,
        whenPaused act: @escaping @Sendable (Slot, JobControl) -> Void
    ) async throws -> Run {
        let backend = try Hardware.backend.get()
        let job = try AdmittedJob(image: image, spec: spec, on: backend.profile)
        let own = slot == nil ? Slot(number: 0, backend: backend) : nil
        defer { own?.stop() }
        guard let slot = slot ?? own else { return Run() }
        let control = JobControl(hasInput: false)
        control.grantOutput(1 << 30)
        let stream = AsyncStream<JobEvent> { continuation in
            slot.start(job, control: control) { event in
                continuation.yield(event)
                if case .paused = event { act(slot, control) }
                if case .finished = event { continuation.finish() }
            }
        }
        var run = Run()
        for await event in stream { run.events.append(event) }
        return run
    }

    /// The memory records.
    var memory: [MemoryRecord] {
        var decoder = RecordDecoder<MemoryRecord>()
        return events.flatMap { event -> [MemoryRecord] in
            guard case .output(.memory, let bytes) = event else { return [] }
            return decoder.feed(bytes)
        }
    }
}

@Suite("Memory windows at a job's end", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct MemoryDumpTests {
    private func run(_ image: [UInt8], memory: UInt64 = 16 << 20, _ windows: [MemoryRange]) async throws -> Run {
        var spec = JobSpec(memoryBytes: memory)
        spec.dumps = windows
        return try await Run.of(image, spec)
    }

    /// The record that ends a window which ends here.
    private func end(_ address: UInt64) -> MemoryRecord { MemoryRecord(address: address, bytes: []) }

    /// mov byte [0x2fff], 0xa5; out 0xe9, al; hlt
    private let marker = hex("c606ff2fa5 e6e9 f4")

    @Test("The whole of a guest's memory is the pages that hold something, whatever its size", arguments: [16, 1024])
    func whole(megabytes: UInt64) async throws {
        let run = try await run(marker, memory: megabytes << 20, [MemoryRange(address: 0, count: megabytes << 20)])
        let page = marker + [UInt8](repeating: 0, count: 4096 - marker.count)
        let next = [UInt8](repeating: 0, count: 4095) + [0xA5]
        #expect(run.memory == [MemoryRecord(address: 0x1000, bytes: page + next), end(megabytes << 20)])
        #expect(try run.result.outcome == .halted)
        #expect(try run.result.outputBytes == 1, "a dump is no output of the guest's")
        let channels = run.events.compactMap { event -> OutputChannel? in
            guard case .output(let channel, _) = event else { return nil }
            return channel
        }
        #expect(channels == [.console, .memory, .memory], "the dump is behind all other output")
    }

    @Test("Windows are cut out of their pages, in their order, as often as they are asked for")
    func cut() async throws {
        let windows = [
            MemoryRange(address: 0x2FFE, count: 3), MemoryRange(address: 0x1001, count: 2),
            MemoryRange(address: 0x1001, count: 2), MemoryRange(address: 0x2000, count: 0xFFF),
        ]
        let records = try await run(marker, windows).memory
        let part = MemoryRecord(address: 0x1001, bytes: [0x06, 0xFF])
        #expect(
            records == [
                MemoryRecord(address: 0x2FFE, bytes: [0, 0xA5]), end(0x3001), part, end(0x1003), part, end(0x1003),
                MemoryRecord(address: 0x2000, bytes: [UInt8](repeating: 0, count: 0xFFF)), end(0x2FFF),
            ])
    }

    @Test("A window can end where guest memory does")
    func last() async throws {
        // The last byte of 1 MiB, by FFFF:000F.
        let image = hex("b8ffff 8ed8 c6060f00a5 f4")
        let size: UInt64 = 1 << 20
        let records = try await run(image, memory: size, [MemoryRange(address: size - 2, count: 2)]).memory
        #expect(records == [MemoryRecord(address: size - 2, bytes: [0, 0xA5]), end(size)])
    }

    @Test("A long run is split into records, and nothing of it is lost")
    func long() async throws {
        let image = hex("f4") + (1..<100_000).map { UInt8(truncatingIfNeeded: $0 * 7 | 1) }
        let records = try await run(image, [MemoryRange(address: 0x1001, count: 99_999)]).memory
        #expect(records.allSatisfy { $0.bytes.count <= MemoryRecord.limit })
        #expect(records.first?.bytes.count == MemoryRecord.limit)
        #expect(records.flatMap(\.bytes) == Array(image.dropFirst()))
        #expect(records.last == end(0x1001 + 99_999))
        for (one, next) in zip(records, records.dropFirst()) {
            #expect(one.address + UInt64(one.bytes.count) == next.address)
        }
    }

    @Test(
        "A window that cannot be sent is refused",
        arguments: [
            [MemoryRange(address: 16 << 20, count: 1)], [MemoryRange(address: 0, count: (16 << 20) + 1)],
            [MemoryRange(address: 0, count: 0)],
            [MemoryRange(address: .max, count: 2)],
            [MemoryRange](repeating: MemoryRange(address: 0, count: 1), count: 65),
        ])
    func refused(windows: [MemoryRange]) async throws {
        let refusal = await #expect(throws: Refusal.self) { try await run(marker, windows) }
        #expect(refusal?.rule == .invalidField)
    }

    @Test("As many windows as may be are sent")
    func most() async throws {
        let windows = [MemoryRange](repeating: MemoryRange(address: 0x1000, count: 1), count: MemoryRange.dumpLimit)
        #expect(try await run(marker, windows).memory.count == 2 * MemoryRange.dumpLimit)
    }

    @Test("A job that ends while it is paused sends its memory too")
    func paused() async throws {
        var spec = JobSpec(budget: Budget(steps: 1))
        (spec.pausesWhenStepsRunOut, spec.dumps) = (true, [MemoryRange(address: 0, count: 1 << 20)])
        let run = try await Run.of(marker, spec) { $1.endPaused() }
        #expect(run.memory.map(\.address) == [0x1000, 1 << 20])
        #expect(try run.result.outcome == .exhausted(.steps, limit: 1, used: 1))
    }

    // MARK: Clients that do not read

    /// Sends a page of ones with so much credit; returns the bytes that went out.
    private func send(
        credit: Int, patience: UInt64, _ prepare: @Sendable (JobControl) -> Void = { _ in }
    ) throws -> [UInt8] {
        let vm = try Hardware.backend.get().hypervisor.makeVirtualMachine(memoryBytes: 2 << 20)
        let isInside = vm.memory.write([UInt8](repeating: 1, count: 4096), at: 0x3000)
        #expect(isInside)
        let control = JobControl(hasInput: false)
        control.grantOutput(credit)
        prepare(control)
        var sent: [UInt8] = []
        var dump = MemoryDump([MemoryRange(address: 0, count: 2 << 20)])
        dump.send(from: vm.memory, through: control, patience: patience) { event in
            if case .output(.memory, let bytes) = event { sent += bytes }
        }
        return sent
    }

    private let stream =
        MemoryRecord(address: 0x3000, bytes: [UInt8](repeating: 1, count: 4096)).encoded
        + MemoryRecord(address: 2 << 20, bytes: []).encoded

    @Test("Windows that nobody reads are given up in time", arguments: [0, 100, 4108])
    func unread(credit: Int) async throws {
        let sent = try await onThread { try send(credit: credit, patience: 1_000_000) }
        #expect(sent == Array(stream.prefix(credit)))
    }

    @Test("Windows do not wait for credit that will never come")
    func hopeless() async throws {
        let forever: UInt64 = 1 << 62
        let cancelled = try await onThread { try send(credit: 100, patience: forever) { $0.cancel(.client) } }
        #expect(cancelled == Array(stream.prefix(100)))
        let gone = try await onThread { try send(credit: 5000, patience: forever) { $0.endOutputCredit() } }
        #expect(gone == stream, "what there is credit for is sent")
    }
}
