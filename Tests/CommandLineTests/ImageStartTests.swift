// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import GuestImage
import JobModel
import Testing

@testable import kvmjob

@Suite struct ImageStartTests {
    private let sector = [UInt8](repeating: 0x90, count: 510) + [0x55, 0xAA]

    /// The kernel of ``InspectTests``.
    private var kernel: [UInt8] {
        get throws {
            try #require(InspectedImage.all.first { $0.name == "a Multiboot kernel without an ELF header" }).image
        }
    }

    private func job(_ image: [UInt8], _ words: String...) async throws -> (spec: JobSpec, image: [UInt8]) {
        let command = try SubmitCommand.parse(["image"] + words)
        let start = try await LoadedStart(ImageStart(command.image, command.guest), limit: 1 << 20)
        return try start.apply(to: image, command.spec)
    }

    private func rejection(_ image: [UInt8], _ words: String...) async throws -> Rejection? {
        let command = try SubmitCommand.parse(["image"] + words)
        let start = try await LoadedStart(ImageStart(command.image, command.guest), limit: 1 << 20)
        do {
            _ = try start.apply(to: image, command.spec)
            return nil
        } catch { return error as? Rejection }
    }

    @Test func `an image without a header stays as it is, where nothing is said of it`() async throws {
        for image in [[0xF4], [], sector] as [[UInt8]] {
            let job = try await job(image, "--mode", "long64", "--load", "0x2000")
            #expect(job.image == image && job.spec == JobSpec(mode: .long64, loadAddress: 0x2000))
        }
    }

    @Test func `a format that is named decides on the place`() async throws {
        #expect(try await job(sector, "--format", "flat").spec == JobSpec(loadAddress: 0x1000))
        let disk = try await job(sector + [1], "--format", "boot-sector")
        #expect(disk.spec == JobSpec(loadAddress: 0x7C00) && disk.image == sector)
        let kernel = try await job(kernel, "--format", "flat", "--mode", "protected32")
        #expect(kernel.spec == JobSpec(mode: .protected32, loadAddress: 0x10_0000))
    }

    @Test func `a kernel becomes pieces, registers and tables`() async throws {
        let job = try await job(kernel, "--append", "x", "--memory", "2MiB", "--set", "eax=7", "--steps", "5")
        #expect(job.spec.mode == .protected32 && job.spec.memoryBytes == 2 << 20 && job.spec.budget.steps == 5)
        #expect(job.spec.entryPoint == 0x10_0020 && job.spec.loadAddress == nil)
        #expect(job.spec.registers[.rax] == 7 && job.spec.registers[.rbx] != nil && job.spec.tables[.gdt] != nil)
        #expect(job.spec.pieces.reduce(0) { $0 + $1.count } == job.image.count)
        #expect(job.spec.pieces.last == MemoryRange(address: 0x10_0000, count: UInt64(try kernel.count)))
    }

    @Test func `a core is all of the memory that a kernel gets`() async throws {
        let linux = try #require(InspectedImage.all.first { $0.name == "Linux" }).image
        let command = try SubmitCommand.parse(["image", "--dump", "0:16", "--core", "c"])
        let start = try command.submission(console: .standard).start
        let job = try await LoadedStart(start, limit: 0).apply(to: linux, command.spec)
        #expect(job.spec.dumps == [.init(address: 0, count: 16), .init(address: 0, count: 256 << 20)])
    }

    @Test func `pieces of memory come beside those of a kernel`() async throws {
        let start = try await LoadedSurroundings([MemoryPiece(argument: "0x8000=0a ff")], ImageStart(), limit: 1 << 20)
        let loaded = try start.join(kernel, from: .file("k"), JobSpec())
        #expect(loaded.spec.pieces.last == MemoryRange(address: 0x8000, count: 2))
        #expect(loaded.bytes.suffix(2) == [0x0A, 0xFF] && loaded.spec.entryPoint == 0x10_0020)
    }

    @Test func `what a kernel cannot be told is refused by name`() async throws {
        for (words, part) in [
            ("--mode=long64", "--mode"), ("--load=1", "--load"), ("--entry=1", "--entry"), ("--set=ip=1", "--entry"),
            ("--set=ds=1", "ds.sel"),
        ] {
            #expect(try await rejection(kernel, words)?.message.contains(part) == true, "\(words)")
        }
        #expect(try await rejection([0xF4], "--append", "x")?.code == "image-unusable")
        let endless = try #require(InspectedImage.all.first { $0.name == "a segment of 2^64 - 1 bytes" }).image
        let rejection = try await rejection(endless)
        #expect(rejection?.code == "image-unusable" && rejection?.value == .max)
    }

    @Test func `a module has its path as its text, and its bytes`() async throws {
        let path = NSTemporaryDirectory() + "module-\(UUID().uuidString)"
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let job = try await job(kernel, "--module", path)
        #expect(job.image.suffix(3) == [1, 2, 3])
        #expect(job.image.firstRange(of: Array(path.utf8) + [0]) != nil)
        await #expect(throws: Rejection.self) { _ = try await self.job(self.kernel, "--module", "/nonexistent/file") }
        var start = ImageStart()
        start.modules = [ModuleFile(path: path, text: "a"), ModuleFile(path: path, text: "b")]
        let limited = start
        await #expect(throws: Rejection.self) { _ = try await LoadedStart(limited, limit: 5) }
    }
}
