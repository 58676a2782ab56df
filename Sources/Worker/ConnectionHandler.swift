// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobProtocol
internal import NIOCore

/// The end of a connection's pipeline: hands frames and their absence to its ``Connection``.
final class ConnectionHandler: ChannelInboundHandler {
    typealias InboundIn = Frame

    private let dispatcher: Dispatcher
    private let peer: Peer
    private var connection: Connection?

    init(dispatcher: Dispatcher, peer: Peer) { (self.dispatcher, self.peer) = (dispatcher, peer) }

    func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { begin(context) }
    }

    func channelActive(context: ChannelHandlerContext) {
        begin(context)
        context.fireChannelActive()
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard connection == nil else { return }
        let connection = Connection(
            terms: dispatcher.terms, channel: context.channel, peer: peer, dispatcher: dispatcher)
        self.connection = connection
        dispatcher.add(connection)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { connection?.receive(unwrapInboundIn(data)) }

    func channelReadComplete(context: ChannelHandlerContext) {
        connection?.readComplete()
        context.fireChannelReadComplete()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? WireError {
            connection?.framingFailed(error)
        } else {
            dispatcher.log.connectionFailed("\(error)", peer: peer)
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let connection { dispatcher.remove(connection) }
        connection = nil
        context.fireChannelInactive()
    }
}
