// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The last exits of a guest, the latest below.
struct ExitTable {
    let exits: [ExitRecord]

    /// A heading, and a line for each exit.
    var lines: [String] {
        guard !exits.isEmpty else { return ["last exits: none"] }
        let heading = ["", "kind", "address", "size", "value", "ascii", "rip"]
        let rows = exits.map { exit in
            [
                "", exit.kind.name, exit.place ?? "-", exit.extent ?? "-", exit.number, exit.characters ?? "-",
                exit.ripText,
            ]
        }
        return ["last exits"] + AlignedColumns(rows: [heading] + rows).lines
    }
}

extension ExitRecord {
    /// Whether the guest moved data: to or from a port, to or from memory that is not there.
    private var isAccess: Bool {
        switch kind {
        case .portIn, .portOut, .mmioRead, .mmioWrite: true
        case .halt, .shutdown, .internalError, .failEntry, .other: false
        }
    }

    /// The port, with 3 digits or more, or the physical address.
    fileprivate var place: String? {
        switch kind {
        case .portIn, .portOut: "0x" + HexText.padded(address, digits: 3)
        case .mmioRead, .mmioWrite: HexText.describe(address)
        case .halt, .shutdown, .internalError, .failEntry, .other: nil
        }
    }

    /// The width in bytes, and how many elements where there are several: `1 x512`.
    fileprivate var extent: String? {
        guard isAccess else { return nil }
        return count > 1 ? "\(size) x\(count)" : "\(size)"
    }

    /// As many digits as the width has; of an error, its number.
    fileprivate var number: String {
        switch kind {
        case .halt, .shutdown: "-"
        case .portIn, .portOut, .mmioRead, .mmioWrite: "0x" + HexText.padded(value, digits: Int(size) * 2)
        case .internalError, .failEntry, .other: HexText.describe(value)
        }
    }

    /// The value's bytes as characters, as they lie in memory.
    fileprivate var characters: String? {
        guard isAccess else { return nil }
        return HexDump.characters((0..<UInt64(min(size, 8))).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) })
    }

    fileprivate var ripText: String { HexText.describe(rip) }

    /// For people, in one line: `port-out 0x3f8, size 1, value 0x34 "4"`.
    var text: String {
        guard isAccess else { return number == "-" ? kind.name : "\(kind.name) \(number)" }
        return "\(kind.name) \(place ?? ""), size \(extent ?? ""), value \(number) \"\(characters ?? "")\""
    }
}
