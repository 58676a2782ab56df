// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import JobScheduling

extension Subject {
    /// Bytes to frames; each time is one frame.
    static let frames: [Subject] = [
        Subject("frames-100-in-a-read") { read(frames: 100, of: 64, chunk: .max, times: $0) },
        Subject("frames-in-reads-of-7-bytes") { read(frames: 100, of: 64, chunk: 7, times: $0) },
        Subject("frames-of-64KiB-in-reads-of-4KiB") { read(frames: 4, of: 65_536, chunk: 4096, times: $0) },
    ]

    private static func read(frames count: Int, of bytes: Int, chunk: Int, times: Int) {
        let frame = Frame(type: FrameType.output.rawValue, job: 1, payload: Array(repeating: 0, count: bytes)).encode()
        let stream = Array((0..<count).map { _ in frame }.joined())
        var reader = FrameReader(frameLimit: 65_536)
        var found = 0
        while found < times {
            var at = 0
            while at < stream.count {
                let end = at + min(chunk, stream.count - at)
                reader.append(stream[at..<end])
                at = end
                do {
                    while try reader.next() != nil { found += 1 }
                } catch {
                    preconditionFailure("\(error)")
                }
            }
        }
    }

    /// One job through the scheduler: submitted, started, finished, while so many others wait.
    static let scheduling: [Subject] = [0, 64, 4096].map { depth in
        Subject("schedule-behind-\(depth)") { times in
            var scheduler = Scheduler(slots: 2)
            var (next, done): (UInt64, UInt64) = (0, 0)
            func submit() {
                next += 1
                guard (try? scheduler.submit(JobKey(next), bytes: 12)) != nil else { preconditionFailure("refused") }
            }
            for _ in 0..<(depth + 2) { submit() }
            for _ in 0..<times {
                // First come, first served, so that the oldest one runs.
                done += 1
                keep(scheduler.finished(JobKey(done)))
                submit()
            }
            precondition(scheduler.queuedCount == depth)
        }
    }

    /// One job through both ends of a connection, in memory: SUBMIT, IMAGE, ACCEPTED, STARTED, OUTPUT, RESULT, with the accounts
    /// of credit that both keep. What it takes beyond the codec is the sessions'.
    static let conversations: [Subject] = [
        Subject("conversation") { times in
            var conversation = Conversation()
            for _ in 0..<times { conversation.runJob() }
            precondition(conversation.finished == times)
        }
    ]
}

/// A worker's and a client's session that talk to each other.
private struct Conversation {
    private var worker = ServerSession(terms: WorkerTerms(slots: 2, modes: [(.real16, .exact)], software: "worker"))
    private var client = ClientSession(software: "client")
    private var toWorker = FrameReader(frameLimit: WorkerTerms.defaultFrameLimit)
    private var toClient = FrameReader(frameLimit: ClientSession.defaultFrameLimit)
    private(set) var finished = 0

    init() {
        perform(worker.open())
        precondition(client.terms != nil)
    }

    mutating func runJob() {
        guard let (job, actions) = client.submit(Samples.spec, source: .image(Image(Samples.image))) else {
            preconditionFailure("the client may not submit")
        }
        perform(actions)
        while let frame = client.nextImageFrame(job) { send(frame) }
    }

    private mutating func perform(_ actions: [ServerAction]) {
        for action in actions {
            switch action {
            case .send(let bytes): receive(bytes)
            case .submit(let job, _, _):
                perform(worker.accepted(job, Acceptance(queuePosition: 0)))
                perform(worker.started(job, queueNanoseconds: 1000))
                perform(worker.output(job, .console, [0x34, 0x0A]))
                perform(worker.finished(job, Samples.result))
            default: break
            }
        }
    }

    private mutating func perform(_ actions: [ClientAction]) {
        for action in actions {
            switch action {
            case .send(let bytes): send(bytes)
            case .finished(_, let result):
                precondition(result.outcome == .halted)
                finished += 1
            default: break
            }
        }
    }

    private mutating func send(_ bytes: [UInt8]) {
        toWorker.append(bytes)
        while let frame = try? toWorker.next() { perform(worker.receive(frame)) }
    }

    private mutating func receive(_ bytes: [UInt8]) {
        toClient.append(bytes)
        while let frame = try? toClient.next() { perform(client.receive(frame)) }
    }
}
