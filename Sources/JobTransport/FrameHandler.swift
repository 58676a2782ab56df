// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobProtocol
public import NIOCore

/// Turns a socket's bytes into frames, on both sides of a connection.
///
/// A framing error goes up the pipeline as the ``WireError`` that it is, once; after it no more bytes are looked at. What is
/// written goes out as it comes: sessions encode their own frames.
public final class FrameHandler: ChannelInboundHandler {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public typealias InboundIn = ByteBuffer
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public typealias InboundOut = Frame

    /// The most bytes of payload that are taken from here on. Set it on the event loop, between two frames.
    public var frameLimit: UInt32 {
        get { reader.frameLimit }
        set { reader.frameLimit = newValue }
    }

    private var reader: FrameReader
    private var hasFailed = false

    /// A handler for one connection.
    ///
    /// - Parameter frameLimit: the most bytes of payload that are taken, as this side's HELLO says.
    public init(frameLimit: UInt32) { reader = FrameReader(frameLimit: frameLimit) }

    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !hasFailed else { return }
        reader.append(unwrapInboundIn(data).readableBytesView)
        do throws(WireError) {
            while let frame = try reader.next() { context.fireChannelRead(wrapInboundOut(frame)) }
        } catch {
            hasFailed = true
            context.fireErrorCaught(error)
        }
    }
}
