// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobProtocol
import NIOCore

/// The end of a test's pipeline: hands the frames of a channel to a stream, which ends with the channel.
package final class FrameCollector: ChannelInboundHandler, Sendable {
    package typealias InboundIn = Frame

    package let frames: AsyncStream<Frame>
    private let continuation: AsyncStream<Frame>.Continuation

    package init() { (frames, continuation) = AsyncStream.makeStream() }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) { continuation.yield(unwrapInboundIn(data)) }

    package func channelInactive(context: ChannelHandlerContext) { continuation.finish() }
}
