// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import GuestImage
import JobModel
import KVM
import Testing

@testable import VMRuntime

/// Code and data by their addresses in an image.
private struct Picture {
    private(set) var bytes: [UInt8]
    let base: UInt64

    init(at base: UInt64, count: Int) { (self.base, bytes) = (base, [UInt8](repeating: 0, count: count)) }

    mutating func put(_ new: [UInt8], at address: UInt64) {
        let start = Int(address - base)
        bytes.replaceSubrange(start..<start + new.count, with: new)
    }

    mutating func put(_ word: UInt64, at address: UInt64) {
        put((0..<8).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) }, at: address)
    }
}

/// Page tables that say one thing in one job and another in the next. Every job reads at one address and ends with what it read.
private enum Subject: String, Sendable, CaseIterable, CustomTestStringConvertible {
    case systemTables = "the machine's own tables, edited"
    case page = "an image's tables, another page"
    case absence = "an image's tables, no page"
    case table = "an image's tables, another table of a higher level"
    case nobodys = "page 0, of which the next job has none"
    case ring0 = "an image's tables, used at ring 0"
    case twoLevels = "32-bit tables"
    case extended = "32-bit tables of 64-bit entries"

    var testDescription: String { rawValue }

    struct Job {
        var image: [UInt8]
        var spec: JobSpec
        var end: Outcome

        var start: StartingPoint { get throws { try ReusedMachine.start(image, spec) } }
    }

    static let tag: UInt32 = 0x5E_C2E7

    /// The job that leaves translations, and the one that must not find them.
    var jobs: (first: Job, second: Job) {
        switch self {
        case .systemTables: (Self.onSystemTables(edits: true), Self.onSystemTables(edits: false))
        case .page:
            (Self.onOwn(page: 0x20_0000, end: .exited(code: Self.tag)), Self.onOwn(page: 0, end: .exited(code: 0)))
        case .absence:
            (Self.onOwn(page: 0x20_0000, end: .exited(code: Self.tag)), Self.onOwn(page: nil, end: .tripleFault))
        case .table:
            (
                Self.onOwn(page: 0x20_0000, end: .exited(code: Self.tag)),
                Self.onOwn(page: 0x20_0000, otherPage: 0, end: .exited(code: 0))
            )
        case .nobodys: (Self.onNull(.long64), Self.onNull(.user64))
        case .ring0:
            (
                Self.onOwn(page: 0x20_0000, isRing3: false, end: .exited(code: Self.tag)),
                Self.onOwn(page: 0, isRing3: false, end: .exited(code: 0))
            )
        case .twoLevels: (Self.onNarrow(isThere: true), Self.onNarrow(isThere: false))
        case .extended: (Self.onExtended(isThere: true), Self.onExtended(isThere: false))
        }
    }

    // MARK: Parts

    private static func little(_ value: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }

    /// `mov eax, [address]; out 0xF4, eax`
    private static func reading(_ address: UInt32) -> [UInt8] { [0x8B, 0x04, 0x25] + little(address) + [0xE7, 0xF4] }

    /// From ring 0 to ring 3, which begins behind this: `push 0x23; push 0x80000; pushfq; push 0x2b; push there; iretq`.
    private static func toRing3(from here: UInt32) -> [UInt8] {
        [0x6A, 0x23, 0x68, 0, 0, 8, 0, 0x9C, 0x6A, 0x2B, 0x68] + little(here + 17) + [0x48, 0xCF]
    }

    private static func onSystemTables(edits: Bool) -> Job {
        var picture = Picture(at: 0x10_0000, count: 0x20_0F08)
        // mov dword [0x99008], 0xE7: what is at 2 MiB is at 0.
        let edit: [UInt8] = edits ? [0xC7, 0x04, 0x25] + little(0x9_9008) + little(0xE7) : []
        let ring0 = edit + toRing3(from: 0x10_0000 + UInt32(edit.count))
        picture.put(ring0 + reading(0x30_0F00), at: 0x10_0000)
        picture.put(UInt64(tag), at: 0x30_0F00)
        return Job(
            image: picture.bytes, spec: JobSpec(mode: .long64), end: .exited(code: edits ? 0 : tag))
    }

    private static func onNull(_ mode: GuestMode) -> Job {
        // mov dword [0], 1: a page without memory of the host's own would lose its mapping by being brought back.
        let write: [UInt8] = [0xC7, 0x04, 0x25] + little(0) + little(1)
        let code = (mode == .long64 ? write + toRing3(from: 0x10_000B) : []) + reading(0)
        // mov eax, [0] at the first byte: an error code of a read by ring 3 of what is not there.
        let fault = Fault(vector: 14, errorCode: 4, address: 0, rip: 0x10_0000)
        return Job(image: code, spec: JobSpec(mode: mode), end: mode == .long64 ? .exited(code: 1) : .faulted(fault))
    }

    /// Tables at 0x280000: the page at 0x400000 leads to `page`; by the other tables of the lower levels, which the topmost one
    /// names if there is such a page, to `otherPage`. The tag is at 0x483F00 where that leads to 0x283F00.
    private static func onOwn(page: UInt64?, otherPage: UInt64? = nil, isRing3: Bool = true, end: Outcome) -> Job {
        var picture = Picture(at: 0x28_0000, count: 0x6000)
        let (pointers, otherPointers): (UInt64, UInt64) = (0x28_1000, 0x28_4000)
        picture.put((otherPage == nil ? pointers : otherPointers) | 0x27, at: 0x28_0000)
        for (pointers, target) in [(pointers, page), (otherPointers, otherPage)] {
            let directory = pointers + 0x1000
            picture.put(directory | 0x27, at: pointers)
            picture.put(0xE7, at: directory)
            picture.put(0x20_00E7, at: directory + 8)
            if let target { picture.put(target | 0xE7, at: directory + 16) }
        }
        let code: UInt64 = 0x28_3000
        picture.put((isRing3 ? toRing3(from: UInt32(code)) : []) + reading(0x48_3F00), at: code)
        picture.put(UInt64(tag), at: 0x28_3F00)
        var spec = JobSpec(mode: .long64, loadAddress: 0x28_0000, entryPoint: code)
        spec.controls = [.cr3: 0x28_0000]
        return Job(image: picture.bytes, spec: spec, end: end)
    }

    /// `mov eax, [0x583F00]; out 0xF4, eax` in 32-bit code at 0x183000, with its tables before it and the tag behind.
    private static func narrow(_ tables: (inout Picture) -> Void, cr4: UInt64, isThere: Bool) -> Job {
        var picture = Picture(at: 0x18_0000, count: 0x4000)
        tables(&picture)
        picture.put([0xA1] + little(0x58_3F00) + [0xE7, 0xF4], at: 0x18_3000)
        picture.put(UInt64(tag), at: 0x18_3F00)
        var spec = JobSpec(mode: .protected32, loadAddress: 0x18_0000, entryPoint: 0x18_3000)
        spec.controls = [.cr0: 0x8001_0031, .cr3: 0x18_0000, .cr4: cr4]
        return Job(image: picture.bytes, spec: spec, end: isThere ? .exited(code: tag) : .tripleFault)
    }

    /// Pages of 4 MiB.
    private static func onNarrow(isThere: Bool) -> Job {
        narrow({ $0.put(UInt64(0xE7) | UInt64(isThere ? 0xE7 : 0) << 32, at: 0x18_0000) }, cr4: 0x10, isThere: isThere)
    }

    /// Pages of 2 MiB: the second of those behind 4 MiB leads to 0.
    private static func onExtended(isThere: Bool) -> Job {
        narrow(
            { picture in
                picture.put(0x18_1001, at: 0x18_0000)
                picture.put(0xE7, at: 0x18_1000)
                if isThere { picture.put(0xE7, at: 0x18_1000 + 16) }
            }, cr4: 0x20, isThere: isThere)
    }

    /// Whether the backend has such tables.
    func isThere(on profile: BackendProfile) -> Bool {
        switch self {
        case .twoLevels, .extended: profile.runs32BitPaging
        default: true
        }
    }

    /// Whether jobs run by such tables on a backend that emulates ring 0, which then keeps nothing of them.
    var isAtRing3: Bool {
        switch self {
        case .ring0, .twoLevels, .extended: false
        default: true
        }
    }
}

@Suite("A machine forgets its last guest's page tables", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct TranslationTests {
    /// Whether a job finds its own tables behind another one's, on a machine that takes jobs of all modes.
    private func isRight(_ subject: Subject, rounds: Int = 1, omitting omitted: ResetStep? = nil) async throws -> Bool {
        try await onThread {
            let reused = try ReusedMachine()
            for _ in 0..<rounds {
                let (first, second) = subject.jobs
                #expect(try reused.run(try first.start).outcome == first.end)
                try reused.prepare(try second.start, omitting: omitted)
                guard try reused.finish().outcome == second.end else { return false }
            }
            return true
        }
    }

    @Test("The next job goes by its own", arguments: Subject.allCases)
    private func forgets(_ subject: Subject) async throws {
        guard subject.isThere(on: try Hardware.backend.get().profile) else { return }
        #expect(try await isRight(subject, rounds: 3))
    }

    @Test("Without that step it does not, where KVM keeps a shadow of them", arguments: Subject.allCases)
    private func mutation(_ subject: Subject) async throws {
        let profile = try Hardware.backend.get().profile
        guard profile.translations == .slot, subject.isThere(on: profile) else { return }
        let remains = subject.isAtRing3 || !profile.countsEmulation
        #expect(try await isRight(subject, omitting: .translations) == !remains)
    }

    @Test func `a program runs on no machine where page tables can have been changed`() async throws {
        let foundry = try MachineFoundry()
        var keeping = MachineKeeping()
        (keeping.trimDelay, keeping.shrinkDelay) = (.seconds(600), .seconds(600))
        let slot = foundry.slot(keeping)
        let (first, second) = Subject.nobodys.jobs
        for _ in 0..<2 {
            #expect(try await Run.of(first.image, first.spec, slot: slot).result.outcome == first.end)
            #expect(try await Run.of(second.image, second.spec, slot: slot).result.outcome == second.end)
        }
        #expect(foundry.count == 2)
        await keeping.stop(slot)
    }

    @Test("What a program cannot reach: the machine's tables", arguments: [false, true])
    func reach(writes: Bool) async throws {
        for page in stride(from: SystemArea.start, to: SystemArea.end, by: 4096) {
            // mov eax, [page]; or mov [page], eax
            let address = (0..<4).map { UInt8(truncatingIfNeeded: page >> ($0 * 8)) }
            let image = [writes ? 0x89 : 0x8B, 0x04, 0x25] + address + [0xE6, 0xF4]
            let result = try await Run.of(image, JobSpec(mode: .user64)).result
            let fault = Fault(vector: 14, errorCode: writes ? 7 : 5, address: page, rip: 0x10_0000)
            #expect(result.outcome == .faulted(fault))
        }
    }

    @Test("Who emulates a guest has nothing to forget of it", arguments: GuestMode.imageModes.filter { $0 != .user64 })
    func costless(_ mode: GuestMode) async throws {
        guard try Hardware.backend.get().profile.countsEmulation else { return }
        try await onThread {
            let reused = try ReusedMachine()
            _ = try reused.run(try ReusedMachine.start(hex("00 d8 f4"), JobSpec(mode: mode)))
            #expect(!reused.mayHaveTranslations)
            _ = try reused.run(try Subject.nobodys.jobs.first.start)
            #expect(reused.mayHaveTranslations)
            try reused.prepare(try ReusedMachine.start(hex("f4"), JobSpec(mode: mode)))
            #expect(!reused.mayHaveTranslations)
        }
    }

    @Test func `whether registers are enough is found out by trying`() async throws {
        let backend = try Hardware.backend.get()
        guard backend.profile.modes[.user64] != nil else { return }
        let isEnough = try await onThread {
            try TranslationProbe.isEnough(backend.hypervisor, try VCPUThread())
        }
        #expect((backend.profile.translations == .registers) == (isEnough && !backend.profile.countsEmulation))
        if backend.profile.countsEmulation { #expect(!isEnough, "its shadow outlives them") }
    }
}

extension ReusedMachine {
    fileprivate var mayHaveTranslations: Bool { machine.current.vcpu.mayHaveTranslations() }
}
