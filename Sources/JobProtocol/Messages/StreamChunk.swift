// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The content of IMAGE, INPUT and OUTPUT: some bytes of a stream and where they belong.
public struct StreamChunk: Sendable, Hashable {
    /// Bytes in front of the chunk's own in a payload.
    public static let headerSize = 12

    /// The position of the first byte in its stream.
    public var offset: UInt64
    /// The bytes; may be empty only at the end.
    public var bytes: [UInt8]
    /// Whether the stream ends behind these bytes.
    public var isEnd: Bool

    /// A chunk with its parts.
    public init(offset: UInt64, bytes: [UInt8], isEnd: Bool = false) {
        (self.offset, self.bytes, self.isEnd) = (offset, bytes, isEnd)
    }

    /// The chunk in a data frame, and the number of its channel, which is one of `channels`.
    static func decode(_ frame: Frame, channels: [UInt8]) throws(WireError) -> (channel: UInt8, chunk: StreamChunk) {
        let payload = frame.payload
        func failure(_ code: ErrorCode, _ message: String) -> WireError {
            WireError(code, message, frameType: frame.header.type)
        }
        guard payload.count >= headerSize else {
            throw failure(.payloadTruncated, "a data header has 12 bytes; this payload has \(payload.count)")
        }
        guard channels.contains(payload[0]) else {
            throw failure(.badValue, "channel \(payload[0]) does not exist for this type")
        }
        guard payload[1] == 0 else { throw failure(.badValue, "vcpu is \(payload[1]); there is only 0") }
        guard payload[2] == 0, payload[3] == 0 else {
            throw failure(.reservedNotZero, "data header bytes 2 and 3 are not zero")
        }
        let chunk = StreamChunk(
            offset: UInt64(bigEndianBytes: payload[4..<headerSize]), bytes: Array(payload[headerSize...]),
            isEnd: frame.header.flags & FrameHeader.end != 0)
        guard chunk.isEnd || !chunk.bytes.isEmpty else {
            throw failure(.badValue, "a data frame carries bytes, END, or both; this one has neither")
        }
        return (payload[0], chunk)
    }

    /// The data frame of this chunk.
    func frame(_ type: FrameType, job: UInt32, channel: UInt8 = 0) -> Frame {
        var payload: [UInt8] = [channel, 0, 0, 0]
        payload.reserveCapacity(Self.headerSize + bytes.count)
        payload.append(bigEndian: offset)
        payload.append(contentsOf: bytes)
        return Frame(type, flags: isEnd ? FrameHeader.end : 0, job: job, payload: payload)
    }

    /// The same bytes as chunks that fit in a receiver's frames; the last one has the end.
    func split(frameLimit: UInt32) -> [StreamChunk] {
        let most = Int(frameLimit) - Self.headerSize
        guard bytes.count > most else { return bytes.isEmpty && !isEnd ? [] : [self] }
        return stride(from: 0, to: bytes.count, by: most).map { start in
            let stop = min(start + most, bytes.count)
            return StreamChunk(
                offset: offset + UInt64(start), bytes: Array(bytes[start..<stop]), isEnd: isEnd && stop == bytes.count)
        }
    }
}
