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
        let start = payload.startIndex
        let (channel, vcpu) = (payload[start], payload[start + 1])
        guard channels.contains(channel) else {
            throw failure(.badValue, "channel \(channel) does not exist for this type")
        }
        guard vcpu == 0 else { throw failure(.badValue, "vcpu is \(vcpu); there is only 0") }
        guard payload[start + 2] == 0, payload[start + 3] == 0 else {
            throw failure(.reservedNotZero, "data header bytes 2 and 3 are not zero")
        }
        let chunk = StreamChunk(
            offset: UInt64(bigEndianBytes: payload[start + 4..<start + headerSize]),
            bytes: Array(payload[(start + headerSize)...]), isEnd: frame.header.flags & FrameHeader.end != 0)
        guard chunk.isEnd || !chunk.bytes.isEmpty else {
            throw failure(.badValue, "a data frame carries bytes, END, or both; this one has neither")
        }
        return (channel, chunk)
    }

    /// The data frame of this chunk.
    func frame(_ type: FrameType, job: UInt32, channel: UInt8 = 0) -> Frame {
        let flags = isEnd ? FrameHeader.end : 0
        var frame = FrameWriter(type, flags: flags, job: job, capacity: Self.headerSize + bytes.count)
        frame.payload.put(UInt32(channel) << 24)
        frame.payload.put(offset)
        frame.payload.put(bytes)
        return frame.finish()
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
