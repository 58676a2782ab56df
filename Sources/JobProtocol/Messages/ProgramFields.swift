// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The fields of a SUBMIT that describe a program. Strings are bytes without zeros, and a list of them has a zero behind each.
extension Field {
    /// A path, which is not empty.
    func path() throws(WireError) -> [UInt8] {
        let bytes = try bytes(atLeast: 1, atMost: ProgramSpec.pathLimit)
        guard !bytes.contains(0) else { throw badValue(UInt8(0)) }
        return Array(bytes)
    }

    func strings() throws(WireError) -> [[UInt8]] {
        let bytes = try bytes(atMost: ProgramSpec.stringBytesLimit)
        if let last = bytes.last, last != 0 { throw badValue(last) }
        let count = bytes.count(where: { $0 == 0 })
        guard count <= ProgramSpec.stringLimit else { throw badValue(UInt64(count)) }
        return bytes.split(separator: 0, omittingEmptySubsequences: false).dropLast().map(Array.init)
    }

    func layers() throws(WireError) -> [ProgramSpec.Layer] {
        let size = ProgramSpec.Layer.wireSize
        let bytes = try bytes(atMost: ProgramSpec.layerLimit * size, multipleOf: size)
        return stride(from: bytes.startIndex, to: bytes.endIndex, by: size).map { at in
            let end = at + ContentDigest.byteCount
            guard let digest = ContentDigest(bytes[at..<end]) else { preconditionFailure("the size was checked") }
            return ProgramSpec.Layer(digest: digest, bytes: UInt64(bigEndianBytes: bytes[end..<at + size]))
        }
    }
}

extension ProgramSpec.Layer {
    static let wireSize = ContentDigest.byteCount + 8
}

extension [ProgramSpec.Layer] {
    var wire: [UInt8] {
        reduce(into: []) { bytes, layer in
            bytes += layer.digest.bytes
            bytes.append(bigEndian: layer.bytes)
        }
    }
}

extension [[UInt8]] {
    /// Each with a zero behind it.
    var wire: [UInt8] {
        reduce(into: []) { bytes, string in
            bytes += string
            bytes.append(0)
        }
    }
}
