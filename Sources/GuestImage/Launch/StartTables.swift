// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The tables that the processor itself reads when a plan's vCPU starts: like those of ``SystemArea``, but where the image leaves room.
struct StartTables {
    /// What differs between boot protocols.
    enum Kind {
        /// 32-bit segments, no paging.
        case protected32
        /// 64-bit code, the first 4 GiB at their own addresses.
        case long64
        /// The same, with the selectors of the boot protocol of Linux: code 0x10, data 0x18.
        case linux
    }

    let tables: [TableName: DescriptorTable]
    let segments: [SegmentName: Segment]
    let controls: [ControlName: UInt64]

    /// Finds room for the tables and lays them down.
    init(_ kind: Kind, in map: inout MemoryMap) throws(LaunchError) {
        let descriptors = Self.descriptors(kind)
        let gdt = try map.place(MemoryMap.Item(name: "GDT", count: UInt64(descriptors.count * 8))) { _ in
            SystemArea.littleEndian(descriptors)[...]
        }
        tables = [.gdt: DescriptorTable(base: gdt, limit: UInt16(descriptors.count * 8 - 1))]
        segments = Self.segments(kind)
        guard kind != .protected32 else {
            // PE alone, as the boot protocols have it; bit 4 always reads one.
            controls = [.cr0: ControlRegister.protection | ControlRegister.extensionType, .cr4: 0]
            return
        }
        let pages = MemoryMap.Item(name: "page tables", count: SystemArea.identityTablesBytes, alignment: 0x1000)
        let root = try map.place(pages) { address in SystemArea.identityTables(at: address)[...] }
        controls = [.cr3: root]
    }

    private static func descriptors(_ kind: Kind) -> [UInt64] {
        let all = SystemArea.descriptors(for: kind == .protected32 ? .protected32 : .long64, task: 0)
        let (code, data) = (all[1], all[2])
        return kind == .linux ? [0, 0, code, data] : [0, code, data]
    }

    private static func segments(_ kind: Kind) -> [SegmentName: Segment] {
        let start = SystemArea.systemRegisters(for: kind == .protected32 ? .protected32 : .long64)
        // TR always holds something. Base 0 and this limit are what PVH asks for.
        var segments: [SegmentName: Segment] = [
            .tr: Segment(base: 0, limit: 0x67, selector: 0, attributes: .init(type: 11, s: false))
        ]
        guard kind == .linux else { return segments }
        for name in [SegmentName.cs, .ds, .es, .fs, .gs, .ss] {
            var segment = start[keyPath: name.keyPath]
            segment.selector = name == .cs ? 0x10 : 0x18
            segments[name] = segment
        }
        return segments
    }
}
