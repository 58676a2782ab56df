// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Bytes in, frames out, at any chunking.
///
/// Call ``next()`` until it returns nil after every ``append(_:)``: then no more than one frame's bytes stay here, because
/// a header above the limit is an error before its payload is waited for. After an error nothing more can be read: the
/// place where the next frame starts is not known.
public struct FrameReader: Sendable {
    /// The most bytes of payload that are taken: what this side said in its HELLO.
    public var frameLimit: UInt32
    private var bytes: [UInt8] = []
    private var start = 0
    private var header: FrameHeader?
    private var failure: WireError?

    /// A reader at the start of a stream.
    public init(frameLimit: UInt32) { self.frameLimit = frameLimit }

    /// Bytes that have come and belong to no complete frame yet.
    public var pendingBytes: Int { bytes.count - start }

    /// Adds bytes as they came from the stream. Ignored after an error.
    public mutating func append(_ more: some Collection<UInt8>) {
        guard failure == nil else { return }
        bytes.append(contentsOf: more)
    }

    /// The next complete frame, or nil when more bytes are needed.
    ///
    /// - Throws: what is wrong with the header, and the same again at every later call.
    public mutating func next() throws(WireError) -> Frame? {
        if let failure { throw failure }
        do throws(WireError) {
            guard let header = try nextHeader(), pendingBytes - FrameHeader.size >= Int(header.length) else {
                dropConsumed()
                return nil
            }
            let end = start + FrameHeader.size + Int(header.length)
            let frame = Frame(header: header, received: bytes[start..<end])
            start = end
            self.header = nil
            return frame
        } catch {
            failure = error
            bytes = []
            start = 0
            throw error
        }
    }

    /// The header in front of the next payload, checked once, as soon as its bytes are there.
    private mutating func nextHeader() throws(WireError) -> FrameHeader? {
        if let header { return header }
        guard pendingBytes >= FrameHeader.size else { return nil }
        let header = try FrameHeader(checking: bytes[start..<start + FrameHeader.size], frameLimit: frameLimit)
        self.header = header
        return header
    }

    private mutating func dropConsumed() {
        guard start > 0 else { return }
        bytes.removeFirst(start)
        start = 0
    }
}
