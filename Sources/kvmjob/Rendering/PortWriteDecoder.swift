// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Cuts the bytes of the port-write channel into records, wherever the chunks were cut.
struct PortWriteDecoder: Sendable {
    private var rest: [UInt8] = []

    mutating func feed(_ bytes: some Sequence<UInt8>) -> [PortWrite] {
        rest += bytes
        let whole = rest.count - rest.count % PortWrite.recordBytes
        defer { rest.removeFirst(whole) }
        return stride(from: 0, to: whole, by: PortWrite.recordBytes).compactMap {
            PortWrite(record: rest[$0..<$0 + PortWrite.recordBytes])
        }
    }
}

extension PortWrite {
    /// For people: `port 0x80 <- 0x12 (1 byte)`.
    var text: String {
        "port \(HexText.describe(port)) <- \(HexText.describe(value)) (\(size) byte\(size == 1 ? "" : "s"))"
    }
}
