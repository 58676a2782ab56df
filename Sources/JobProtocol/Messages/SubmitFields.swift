// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

/// The fields of a SUBMIT that are lists: entries of one size, and where they have numbers, those rise strictly.
extension Field {
    func reportContents() throws(WireError) -> ReportContents {
        let number = try integer(UInt8.self)
        let contents = ReportContents(rawValue: number)
        guard contents.isSubset(of: .all) else { throw badValue(number) }
        return contents
    }

    func segments() throws(WireError) -> [SegmentName: Segment] {
        try entries(SegmentName.self, size: Segment.wireSize) { Segment(&$0) }
    }

    func tables() throws(WireError) -> [TableName: DescriptorTable] {
        try entries(TableName.self, size: DescriptorTable.wireSize) { DescriptorTable(&$0) }
    }

    func controls() throws(WireError) -> [ControlName: UInt64] {
        try entries(ControlName.self, size: 8) { $0.next() }
    }

    /// Ranges in the order in which they came.
    func ranges(atMost limit: Int) throws(WireError) -> [MemoryRange] {
        let bytes = try bytes(atMost: limit * MemoryRange.wireSize, multipleOf: MemoryRange.wireSize)
        var block = BlockReader(rest: bytes)
        return (0..<bytes.count / MemoryRange.wireSize).map { _ in
            MemoryRange(address: block.next(), count: block.next())
        }
    }

    /// Values behind their names' numbers. No more entries can come than there are names.
    private func entries<Name: RawRepresentable<UInt8> & Hashable & CaseIterable, Value>(
        _ type: Name.Type, size: Int, _ value: (inout BlockReader) -> Value
    ) throws(WireError) -> [Name: Value] {
        let entry = size + 1
        let bytes = try bytes(atMost: Name.allCases.count * entry, multipleOf: entry)
        var block = BlockReader(rest: bytes)
        var values: [Name: Value] = [:]
        var last: UInt8?
        for _ in 0..<bytes.count / entry {
            let number: UInt8 = block.next()
            guard let name = Name(rawValue: number), last.map({ $0 < number }) ?? true else { throw badValue(number) }
            last = number
            values[name] = value(&block)
        }
        return values
    }
}

extension MemoryRange {
    static let wireSize = 16
}

extension [MemoryRange] {
    var wire: [UInt8] {
        reduce(into: []) { bytes, range in
            bytes.append(bigEndian: range.address)
            bytes.append(bigEndian: range.count)
        }
    }
}

extension Dictionary where Key: RawRepresentable<UInt8> {
    /// Each value behind its name's number, rising by number.
    fileprivate func entries(_ encode: (Value) -> [UInt8]) -> [UInt8] {
        sorted { $0.key.rawValue < $1.key.rawValue }.flatMap { [$0.key.rawValue] + encode($0.value) }
    }
}

extension [SegmentName: Segment] {
    var wire: [UInt8] { entries(\.wire) }
}

extension [TableName: DescriptorTable] {
    var wire: [UInt8] { entries(\.wire) }
}

extension [ControlName: UInt64] {
    var wire: [UInt8] {
        entries { value in
            var bytes: [UInt8] = []
            bytes.append(bigEndian: value)
            return bytes
        }
    }
}
