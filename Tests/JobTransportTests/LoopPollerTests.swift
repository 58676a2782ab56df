// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import NIOEmbedded
import Testing

@testable import JobTransport

@Suite struct LoopPollerTests {
    private final class Looks {
        var polling: [Bool] = []
        weak var poller: LoopPoller?

        func look() { polling.append(poller?.isPolling ?? false) }
    }

    private func makePoller(_ loop: EmbeddedEventLoop, for time: Duration) -> (LoopPoller, Looks) {
        let looks = Looks()
        let poller = LoopPoller(loop, for: time) { looks.look() }
        looks.poller = poller
        return (poller, looks)
    }

    /// Goes around until the poller gives up.
    private func goOn(_ loop: EmbeddedEventLoop, _ poller: LoopPoller) {
        while poller.isPolling { loop.advanceTime(by: LoopPoller.pause) }
    }

    @Test func `an idle loop is left alone`() {
        let loop = EmbeddedEventLoop()
        let (poller, looks) = makePoller(loop, for: .seconds(60))
        loop.run()
        #expect(looks.polling.isEmpty && !poller.isPolling)
    }

    @Test func `after an activity the loop looks until the time is over, and a last time when it has stopped`() {
        let loop = EmbeddedEventLoop()
        let (poller, looks) = makePoller(loop, for: .milliseconds(5))
        poller.noteActivity()
        #expect(poller.isPolling)
        loop.run()
        #expect(looks.polling.isEmpty, "it is not due before the loop has looked at its sockets")
        goOn(loop, poller)
        #expect(looks.polling.dropLast().allSatisfy { $0 } && looks.polling.last == false)
        #expect(looks.polling.count > 1)
        let before = looks.polling.count
        poller.noteActivity()
        goOn(loop, poller)
        #expect(looks.polling.count > before, "the next activity begins anew")
    }

    @Test func `what the last look finds begins anew, and once`() {
        let loop = EmbeddedEventLoop()
        let looks = Looks()
        let poller = LoopPoller(loop, for: .zero) {
            looks.look()
            if looks.polling.count < 10 { looks.poller?.noteActivity() }
        }
        looks.poller = poller
        poller.noteActivity()
        goOn(loop, poller)
        #expect(looks.polling == [Bool](repeating: false, count: 10), "each look is the last one, and one follows it")
    }
}
