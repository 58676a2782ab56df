// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@Suite struct StreamRecordTests {
    private static let step = TraceStep(
        rip: 0x1000, linearAddress: .max, bits: 64, code: [0xB0, 0x48],
        changes: [.init(name: .rax, value: 0x48), .init(name: .rflags, value: .max)])
    private static let trace: [TraceRecord] = [
        .step(step), .exit(ExitRecord(kind: .portOut, size: 1, count: 1, address: 0xE9, value: 0x48, rip: 0x1004)),
        .step(TraceStep(rip: 0, linearAddress: 0, bits: 16, code: [], changes: [])),
        .exit(ExitRecord(kind: .other, size: .max, count: .max, address: .max, value: .max, rip: .max)),
    ]
    private static let memory = [
        MemoryRecord(address: 0, bytes: [1, 2, 3]), MemoryRecord(address: .max, bytes: []),
        MemoryRecord(address: 7, bytes: [UInt8](repeating: 9, count: MemoryRecord.limit)),
    ]

    @Test(arguments: 1...70)
    func `records come out whole wherever their bytes are cut`(chunk: Int) {
        var (traces, memories) = (RecordDecoder<TraceRecord>(), RecordDecoder<MemoryRecord>())
        #expect(records(Self.trace.flatMap(\.encoded), chunk, &traces) == Self.trace)
        #expect(records(Self.memory.flatMap(\.encoded), chunk * 97, &memories) == Self.memory)
        #expect(traces.pendingBytes == 0 && memories.pendingBytes == 0)
    }

    private func records<Record>(
        _ bytes: [UInt8], _ chunk: Int, _ decoder: inout RecordDecoder<Record>
    ) -> [Record] {
        stride(from: 0, to: bytes.count, by: chunk).flatMap { start in
            decoder.feed(bytes[start..<min(bytes.count, start + chunk)])
        }
    }

    @Test func `a record is complete with its last byte and not before`() {
        for record in Self.trace {
            var decoder = RecordDecoder<TraceRecord>()
            #expect(decoder.feed(record.encoded.dropLast()).isEmpty)
            #expect(decoder.feed(record.encoded.suffix(1)) == [record])
        }
    }

    @Test func `a code that is too long is cut when a step is made`() {
        let step = TraceStep(rip: 0, linearAddress: 0, bits: 16, code: [UInt8](0..<20), changes: [])
        #expect(step.code == [UInt8](0..<15))
    }

    @Test func `a broken stream gives what came before and nothing more`() {
        var decoder = RecordDecoder<TraceRecord>()
        #expect(decoder.feed(Self.trace[0].encoded + [9]) == [Self.trace[0]])
        #expect(decoder.isBroken && decoder.pendingBytes == 0)
        #expect(decoder.feed(Self.trace[0].encoded).isEmpty)
        #expect(decoder.isBroken)
    }

    @Test(arguments: [
        (MemoryRecord.limit + 1, "one byte too many"), (Int(UInt32.max), "4 GiB"),
    ])
    func `a memory record that is too long is not waited for`(count: Int, why: String) {
        var decoder = RecordDecoder<MemoryRecord>()
        let header = [UInt8](repeating: 0, count: 8) + (0..<4).reversed().map { UInt8(count >> ($0 * 8) & 255) }
        #expect(decoder.feed(header.dropLast()).isEmpty && !decoder.isBroken)
        #expect(decoder.feed(header.suffix(1)).isEmpty && decoder.isBroken)
    }

    @Test func `an exit record has its size and a known kind`() {
        let record = ExitRecord(kind: .halt, rip: 1).encoded
        #expect(record.count == ExitRecord.recordBytes)
        #expect(ExitRecord(record: record) == ExitRecord(kind: .halt, rip: 1))
        #expect(ExitRecord(record: record.dropLast()) == nil)
        #expect(ExitRecord(record: record + [0]) == nil)
        for kind: UInt8 in [0, 10, 255] { #expect(ExitRecord(record: [kind] + record.dropFirst()) == nil) }
        #expect(ExitRecord(record: [5, 0, 1, 2] + record.dropFirst(4)) == ExitRecord(kind: .halt, rip: 1))
    }
}
