// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct MemoryOptionsTests {
    private func memory(_ texts: String..., limit: UInt64 = 1 << 20) async throws -> LoadedMemory {
        try await LoadedMemory(texts.map(MemoryPiece.init(argument:)), limit: limit)
    }

    @Test func `bytes come from the command line or from a file`() throws {
        #expect(try MemoryPiece(argument: "0x8000=0a ff").source == .hex("0a ff"))
        let piece = try MemoryPiece(argument: "4096=@a=b.bin")
        #expect(piece.address == 4096 && piece.source == .file("a=b.bin"))
    }

    @Test func `without pieces a job is what it was`() async throws {
        let spec = JobSpec(loadAddress: 0x2000)
        let job = try await memory().join([1, 2], from: .hex("0102"), spec)
        #expect(job.spec == spec && job.bytes == [1, 2])
    }

    @Test func `an image is the first piece, and lies and starts where it would without the others`() async throws {
        let job = try await memory("0x8000=0a ff", "0x9000=01").join([1, 2], from: .hex("0102"), JobSpec())
        #expect(job.bytes == [1, 2, 0x0A, 0xFF, 1])
        #expect(
            job.spec.pieces == [
                .init(address: 0x1000, count: 2), .init(address: 0x8000, count: 2), .init(address: 0x9000, count: 1),
            ])
        #expect(job.spec.entryPoint == 0x1000 && job.spec.loadAddress == nil)
        var wish = JobSpec(mode: .long64, loadAddress: 0x20_0000, entryPoint: 0x20_0001)
        let placed = try await memory("0x8000=0a").join([1, 2], from: .standardInput, wish)
        wish.loadAddress = nil
        wish.pieces = [.init(address: 0x20_0000, count: 2), .init(address: 0x8000, count: 1)]
        #expect(placed.spec == wish)
    }

    @Test func `a boot sector keeps its place`() async throws {
        let sector = [UInt8](repeating: 0, count: 510) + [0x55, 0xAA]
        let job = try await memory("0x8000=0a").join(sector, from: .file("boot"), JobSpec())
        #expect(job.spec.entryPoint == 0x7C00 && job.spec.pieces.first == .init(address: 0x7C00, count: 512))
    }

    @Test func `without an image the pieces are all there is`() async throws {
        let job = try await memory("0x8000=f4").join([], from: .none, JobSpec(entryPoint: 0x8000))
        #expect(job.bytes == [0xF4] && job.spec.pieces == [.init(address: 0x8000, count: 1)])
        #expect(JobList(files: [], snippets: [], repeats: 2).images.map(\.source) == [.none])
    }

    @Test func `an empty image stays one, to be refused as such`() async throws {
        let job = try await memory("0x8000=f4").join([], from: .file("empty"), JobSpec())
        #expect(job.bytes.isEmpty && job.spec == JobSpec())
    }

    @Test func `what is not there, or is too large, is told`() async throws {
        let missing = await #expect(throws: Rejection.self) { _ = try await memory("0=@/nonexistent/file") }
        #expect(missing?.message.contains("/nonexistent/file") == true)
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)")
        try Data([1, 2, 3]).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let large = await #expect(throws: Rejection.self) { _ = try await memory("0=01", "8=@\(file.path)", limit: 3) }
        #expect(large?.code == "image-too-large")
        _ = try await memory("0=01", "8=@\(file.path)", limit: 4)
    }
}
