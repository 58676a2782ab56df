// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobProtocol
import JobTransport
import NIOCore
import NIOEmbedded
import Testing

@Suite struct FrameHandlerTests {
    private let ping = Message.ping([1, 2, 3, 4, 5, 6, 7, 8])
    private let cancel = Message.cancel(job: 3)

    @Test(arguments: [1, 2, 3, 7, 64])
    func `bytes become frames at any chunking`(chunk: Int) throws {
        let channel = EmbeddedChannel(handler: FrameHandler(frameLimit: 4096))
        let bytes = ping.encode() + cancel.encode() + ping.encode()
        for start in stride(from: 0, to: bytes.count, by: chunk) {
            try channel.writeInbound(ByteBuffer(bytes: bytes[start..<min(bytes.count, start + chunk)]))
        }
        var frames: [Frame] = []
        while let frame = try channel.readInbound(as: Frame.self) { frames.append(frame) }
        #expect(frames == [ping.frame, cancel.frame, ping.frame])
        #expect(try channel.finish().isClean)
    }

    @Test func `a framing error comes once, behind the frames before it, and ends the reading`() throws {
        let channel = EmbeddedChannel(handler: FrameHandler(frameLimit: 4096))
        let tooLong: [UInt8] = [0, 0, 0x10, 1, 2, 0, 0, 0, 0, 0, 0, 0]
        let error = #expect(throws: WireError.self) {
            try channel.writeInbound(ByteBuffer(bytes: ping.encode() + tooLong))
        }
        #expect(error?.code == .frameTooLong)
        #expect(try channel.readInbound(as: Frame.self) == ping.frame)
        try channel.writeInbound(ByteBuffer(bytes: ping.encode()))
        #expect(try channel.readInbound(as: Frame.self) == nil)
    }

    @Test func `the frame limit can rise between two frames`() throws {
        let handler = FrameHandler(frameLimit: 4096)
        let channel = EmbeddedChannel(handler: handler)
        handler.frameLimit = 8192
        let large = Message.image(job: 1, StreamChunk(offset: 0, bytes: [UInt8](repeating: 1, count: 8000)))
        try channel.writeInbound(ByteBuffer(bytes: large.encode()))
        #expect(try channel.readInbound(as: Frame.self) == large.frame)
    }
}
