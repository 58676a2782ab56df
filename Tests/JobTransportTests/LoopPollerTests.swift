// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobTransport
import NIOEmbedded
import Testing

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
        // An embedded loop runs until nothing is left to do: until the poller gives up.
        loop.run()
        #expect(!poller.isPolling)
        #expect(looks.polling.dropLast().allSatisfy { $0 } && looks.polling.last == false)
        #expect(looks.polling.count > 1)
        let before = looks.polling.count
        poller.noteActivity()
        loop.run()
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
        loop.run()
        #expect(looks.polling == [Bool](repeating: false, count: 10), "each look is the last one, and one follows it")
    }
}
