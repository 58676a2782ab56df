// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc
import JobModel
import JobProtocol
import JobTransport
import Testing

/// A client by bare calls: what it sends together arrives together, and it reads when it is told to.
final class BareClient {
    private var session = ClientSession(software: "test")
    private var reader = FrameReader(frameLimit: 65_536)
    private let descriptor: CInt

    init(to worker: TestWorker) async throws {
        let (near, far) = try UnixSocket.connectedPair()
        Task { try await worker.worker.serve(descriptor: far) }
        descriptor = near
        while session.terms == nil { send(try receive()) }
    }

    deinit { close(descriptor) }

    /// Blocks until something has come, and says what the session makes of it.
    private func receive() throws -> [ClientAction] {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = waitForBytes() ? read(descriptor, &bytes, bytes.count) : 0
        try #require(count > 0)
        reader.append(bytes.prefix(count))
        var actions: [ClientAction] = []
        while let frame = try reader.next() { actions += session.receive(frame) }
        return actions
    }

    private func waitForBytes() -> Bool {
        var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&wanted, 1, -1) == 1
    }

    private func send(_ actions: [ClientAction], filledUpTo size: Int = 0) {
        var bytes: [UInt8] = []
        for case .send(let frame) in actions { bytes += frame }
        // No frame begins like this.
        bytes += [UInt8](repeating: 0xFF, count: max(0, size - bytes.count))
        guard !bytes.isEmpty else { return }
        #expect(write(descriptor, bytes, bytes.count) == bytes.count)
    }

    private func submission(_ source: JobSource, input: [UInt8]? = nil) throws -> [ClientAction] {
        let submitted = session.submit(JobSpec(hasInput: input != nil), source: source)
        let (job, actions) = try #require(submitted)
        return actions + (input.map { session.sendInput(job, $0, end: true) } ?? [])
    }

    /// Submits a job with input and what is no frame behind it, so many bytes in all. Whoever lets go of the client now is gone
    /// before anybody can answer, and what has not been read by then makes that an error at the worker's end, not the end of a
    /// stream.
    func submitAndLeave(_ source: JobSource, bytes: Int) throws {
        send(try submission(.image(Image([0xF4]))))
        let image = session.nextImageFrame(1)
        send([.send(try #require(image))])
        try #require(waitForBytes())
        send(try submission(source, input: [1]), filledUpTo: bytes)
    }

    /// Submits a job with input and further ones without, all together, and returns how they ended.
    func submitTogether(_ source: JobSource, count: Int) throws -> [Outcome] {
        var actions = try submission(source, input: [1])
        for _ in 1..<count { actions += try submission(source) }
        send(actions)
        var outcomes: [Outcome] = []
        while outcomes.count < count {
            let actions = try receive()
            send(actions)
            for case .finished(_, let result) in actions { outcomes.append(result.outcome) }
        }
        return outcomes
    }
}
