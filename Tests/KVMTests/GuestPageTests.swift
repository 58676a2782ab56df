// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import KVM

@Suite("Guest memory, page by page", .enabled(if: kvmIsUsable, "no usable /dev/kvm"))
struct GuestPageTests {
    private func nonZero(_ memory: borrowing GuestMemory) -> [UInt64: [UInt8]] {
        var pages: [UInt64: [UInt8]] = [:]
        var last: UInt64?
        memory.forEachOccupiedPage { address, bytes in
            #expect(last.map { $0 < address } ?? true)
            #expect(bytes.count == 4096)
            (last, pages[address]) = (address, bytes)
        }
        return pages
    }

    @Test("Only pages with something in them are gone through, to their last bytes")
    func pages() throws {
        // More than is asked about at once: 4096 pages.
        let vm = try Hypervisor().makeVirtualMachine(memoryBytes: 40 << 20)
        let untouched = nonZero(vm.memory)
        #expect(untouched.isEmpty)
        let places: [UInt64] = [0, 0x1FFF, 0x3800, 16 << 20, (16 << 20) - 1, (40 << 20) - 1]
        for place in places {
            let wrote = vm.memory.write([1], at: place)
            #expect(wrote)
        }
        // Touched, and zeros all the same.
        let wrote = vm.memory.write([UInt8](repeating: 0, count: 8192), at: 0x10_0000)
        #expect(wrote)
        let pages = nonZero(vm.memory)
        #expect(Set(pages.keys) == Set(places.map { $0 & ~0xFFF }))
        for place in places { #expect(pages[place & ~0xFFF]?[Int(place & 0xFFF)] == 1) }
        #expect(pages.values.allSatisfy { page in page.filter { $0 != 0 }.count == 1 })
    }
}

@Suite("The fixed CPUID table")
struct BaselineTests {
    @Test("It is the same bytes everywhere")
    func table() {
        let table = CPUIDTable.baseline
        func text(_ words: [UInt32]) -> String {
            String(
                decoding: words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } },
                as: UTF8.self)
        }
        let first = table.answer(leaf: 0)
        #expect(first.eax == 1 && text([first.ebx, first.edx, first.ecx]) == "AuthenticAMD")
        #expect(table.answer(leaf: 1) == CPUIDAnswer(eax: 0xF58, ebx: 0x800, ecx: 0, edx: 0x078B_A37D))
        #expect(table.answer(leaf: 0x8000_0001) == CPUIDAnswer(eax: 0xF58, ebx: 0, ecx: 0, edx: 0x2010_0800))
        #expect(table.answer(leaf: 0x8000_0008) == CPUIDAnswer(eax: 0x3028, ebx: 0, ecx: 0, edx: 0))
        let brand = (UInt32(0x8000_0002)...0x8000_0004).map(table.answer)
        #expect(
            text(brand.flatMap { [$0.eax, $0.ebx, $0.ecx, $0.edx] })
                == "kvmjob deterministic x86-64" + String(repeating: "\0", count: 21))
        for leaf in [2, 7, 0xD, 0x4000_0000, 0x4000_0001, 0x8000_0007] as [UInt32] {
            #expect(table.answer(leaf: leaf) == .nothing)
        }
    }

    @Test("What a machine lacks of it is told by name")
    func missing() {
        #expect(CPUIDTable.baseline.missingBaselineFeatures.isEmpty)
        let old = CPUIDTable([(1, CPUIDAnswer(eax: 0, ebx: 0, ecx: 0, edx: ~(1 << 26)))])
        #expect(old.missingBaselineFeatures == ["SSE2", "SYSCALL", "NX", "LM"])
    }
}
