// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobProtocol

private let bytes: [UInt8] = [1, 2, 3, 4]
private let image = Image(bytes).hashed

@Suite struct ImageHashTests {
    @Test func `the digest of three bytes is that of the standard`() {
        let abc = ContentDigest(hashing: Array("abc".utf8))
        #expect(abc.bytes == hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"))
        #expect(ContentDigest(abc.bytes) == abc)
        #expect(ContentDigest(abc.bytes.dropLast()) == nil && ContentDigest(abc.bytes + [0]) == nil)
    }

    @Test(arguments: [1, 3, 64, 1000]) func `pieces make the digest of the whole`(size: Int) {
        let whole = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        var hash = ImageHash()
        for start in stride(from: 0, to: whole.count, by: size) { hash.append(Array(whole[start...].prefix(size))) }
        #expect(hash.digest == ContentDigest(hashing: whole))
    }

    @Test func `an image that has a digest keeps it`() {
        #expect(Image(bytes, digest: madeUp).hashed.digest == madeUp)
        #expect(image.digest == ContentDigest(hashing: bytes))
    }
}

@Suite struct ImageOfferTests {
    private func session(uploadLimit: UInt64 = 1000) -> ServerSession {
        var session = ServerSession(terms: .test, uploadLimit: uploadLimit)
        _ = session.open()
        _ = session.receive(Message.hello(Hello(frameLimit: 4096, window: 9)).frame)
        return session
    }

    private func offer(_ job: UInt32, _ image: Image = image, _ change: (inout Submit) -> Void = { _ in }) -> Frame {
        var submit = Submit(JobSpec(), source: .image(image))
        change(&submit)
        return Message.submit(job: job, submit).frame
    }

    private func piece(_ job: UInt32, _ bytes: [UInt8], at offset: UInt64 = 0, end: Bool = true) -> Frame {
        Message.image(job: job, StreamChunk(offset: offset, bytes: bytes, isEnd: end)).frame
    }

    private func code(_ actions: [ServerAction], of job: UInt32 = 0) throws -> ErrorCode? {
        guard case .error(job, let report)? = try sent(actions).first else { return nil }
        return report.knownCode
    }

    @Test func `an image that is found is not asked for`() throws {
        var session = session()
        let digest = try #require(image.digest)
        #expect(session.receive(offer(1)) == [.lookUp(job: 1, digest: digest, bytes: 4)])
        #expect(session.uploadBytes == 0, "nobody waits for its bytes")
        #expect(
            session.imageFound(1, bytes)
                == [.submit(job: 1, spec: JobSpec(), source: .image(image)), .credit(job: 1, bytes: 9)])
        #expect(session.imageFound(1, bytes).isEmpty && session.imageWanted(1).isEmpty, "it is answered once")
        let acceptance = Acceptance(queuePosition: 2)
        #expect(try sent(session.accepted(1, acceptance)) == [.accepted(job: 1, acceptance)])
    }

    @Test func `an image that is wanted is hashed as it comes and handed on with its digest`() throws {
        var session = session()
        _ = session.receive(offer(1))
        #expect(try sent(session.imageWanted(1)) == [.wantImage(job: 1)])
        #expect(session.uploadBytes == 4 && session.imageWanted(1).isEmpty)
        #expect(session.receive(piece(1, [1], end: false)).isEmpty)
        #expect(session.receive(piece(1, [2, 3, 4], at: 1, end: false)).isEmpty)
        #expect(
            session.receive(piece(1, [], at: 4))
                == [.submit(job: 1, spec: JobSpec(), source: .image(image)), .credit(job: 1, bytes: 9)])
        #expect(session.uploadBytes == 0)
    }

    @Test func `bytes that do not have the digest are refused, and the connection goes on`() throws {
        var session = session()
        for job: UInt32 in 1...5 {
            _ = session.receive(offer(job))
            _ = session.imageWanted(job)
            let actions = session.receive(piece(job, [1, 2, 3, 5]))
            #expect(try code(actions, of: job) == .imageDigestMismatch && orders(actions).isEmpty)
        }
        #expect(session.uploadBytes == 0 && session.jobsInFlight == 0)
        _ = session.receive(offer(6))
        _ = session.imageWanted(6)
        #expect(orders(session.receive(piece(6, bytes))).count == 2)
    }

    @Test func `room for uploads is asked for when an image is wanted, not when it is offered`() throws {
        var session = session(uploadLimit: 1000)
        let large = Image([UInt8](repeating: 1, count: 600)).hashed
        _ = session.receive(offer(1, large))
        _ = session.imageWanted(1)
        #expect(orders(session.receive(offer(2, large))).count == 1)
        #expect(orders(session.imageFound(2, large.bytes)).count == 2, "of a known image no bytes come")
        _ = session.receive(offer(3, large))
        #expect(try code(session.imageWanted(3), of: 3) == .queueFull)
        #expect(session.uploadBytes == 600 && session.jobsInFlight == 2)
        #expect(session.receive(piece(3, [1])).isEmpty, "what was on its way for a refused job is ignored")
        session.uploadRoom = 3
        _ = session.receive(offer(4))
        #expect(try code(session.imageWanted(4), of: 4) == .queueFull)
    }

    @Test func `uploads that end early give their room back`() throws {
        var session = session()
        for job: UInt32 in 1...2 {
            _ = session.receive(offer(job))
            _ = session.imageWanted(job)
        }
        #expect(session.uploadBytes == 8)
        #expect(try code(session.receive(Message.cancel(job: 1).frame), of: 1) == .cancelledUpload)
        #expect(session.uploadBytes == 4)
        #expect(try sent(session.goAway(.drain)).count == 2)
        #expect(session.uploadBytes == 0)
    }

    @Test func `a deterministic job's image always comes, since its input has to come before`() throws {
        var session = session()
        let change = { (submit: inout Submit) in (submit.deterministic, submit.input) = (true, true) }
        #expect(try sent(session.receive(offer(1, image, change))) == [.wantImage(job: 1)])
        #expect(session.receive(Message.input(job: 1, StreamChunk(offset: 0, bytes: [7], isEnd: true)).frame).isEmpty)
        #expect(session.receive(piece(1, bytes)).last == .input(job: 1, bytes: [7], end: true))
        _ = session.receive(offer(2, image, change))
        #expect(try code(session.receive(piece(2, bytes)), of: 2) == .invalidField)
    }

    @Test func `input before WANT_IMAGE is held until the image is there`() throws {
        var session = session()
        _ = session.receive(offer(1, image) { $0.input = true })
        _ = session.imageWanted(1)
        #expect(session.receive(Message.input(job: 1, StreamChunk(offset: 0, bytes: [7])).frame).isEmpty)
        #expect(session.receive(piece(1, bytes)).last == .input(job: 1, bytes: [7], end: false))
    }

    @Test func `an image that nobody asked for ends the connection`() throws {
        var early = session()
        _ = early.receive(offer(1))
        #expect(try code(early.receive(piece(1, bytes))) == .unexpectedFrame)
        var known = session()
        _ = known.receive(offer(1))
        _ = known.imageFound(1, bytes)
        #expect(try code(known.receive(piece(1, bytes))) == .unexpectedFrame)
        var snapshot = session()
        _ = snapshot.receive(Message.submit(job: 1, Submit(JobSpec(), source: .snapshot(madeUp))).frame)
        #expect(try code(snapshot.receive(piece(1, bytes))) == .unexpectedFrame)
    }

    @Test func `a job from a snapshot is handed on at once and the worker tells its memory`() throws {
        var session = session()
        let actions = session.receive(
            Message.submit(job: 1, Submit(JobSpec(label: "x"), source: .snapshot(madeUp))).frame)
        #expect(
            actions == [
                .submit(job: 1, spec: JobSpec(label: "x"), source: .snapshot(madeUp)), .credit(job: 1, bytes: 9),
            ])
        _ = session.accepted(1, Acceptance(queuePosition: 0), snapshotMemoryBytes: 1 << 21)
        guard case .started(1, let started)? = try sent(session.started(1, queueNanoseconds: 0)).first else {
            Issue.record("no STARTED")
            return
        }
        #expect(started.memoryBytes == 1 << 21 && started.wallBudget != nil)
    }
}

@Suite struct ImageDemandTests {
    private func ready() -> ClientSession {
        var session = ClientSession(software: "test", frameLimit: 4096, outputWindow: 8)
        _ = session.receive(Message.hello(WorkerTerms.test.hello).frame)
        return session
    }

    private func wants(_ actions: [ClientAction]) -> [UInt32] {
        actions.compactMap { if case .imageWanted(let job) = $0 { job } else { nil } }
    }

    private func failure(_ actions: [ClientAction]) -> ErrorCode? {
        actions.compactMap { if case .protocolFailed(let error) = $0 { error.code } else { nil } }.first
    }

    @Test func `an image with a digest is kept until the worker asks for it`() throws {
        var session = ready()
        let submitted = session.submit(JobSpec(), source: .image(image))
        guard case .submit(1, let submit)? = try submitted.map({ try sent($0.actions) })?.first else {
            Issue.record("no SUBMIT")
            return
        }
        #expect(submit.imageDigest == image.digest && submit.imageBytes == 4)
        #expect(session.nextImageFrame(1) == nil)
        #expect(wants(session.receive(Message.wantImage(job: 1).frame)) == [1])
        let frame = session.nextImageFrame(1)
        #expect(frame == Message.image(job: 1, StreamChunk(offset: 0, bytes: bytes, isEnd: true)).encode())
        #expect(session.nextImageFrame(1) == nil)
        #expect(failure(session.receive(Message.accepted(job: 1, Acceptance()).frame)) == nil)
    }

    @Test func `a job whose image the worker has is accepted without it`() {
        var session = ready()
        _ = session.submit(JobSpec(), source: .image(image))
        #expect(failure(session.receive(Message.accepted(job: 1, Acceptance()).frame)) == nil)
        #expect(session.nextImageFrame(1) == nil)
        #expect(failure(session.receive(Message.wantImage(job: 1).frame)) == .unexpectedFrame)
    }

    @Test func `WANT_IMAGE for a job without a digest, twice, or of no job, is a worker's mistake`() {
        var plain = ready()
        _ = plain.submit(JobSpec(), source: .image(Image(bytes)))
        #expect(failure(plain.receive(Message.wantImage(job: 1).frame)) == .unexpectedFrame)
        var snapshot = ready()
        _ = snapshot.submit(JobSpec(), source: .snapshot(madeUp))
        #expect(failure(snapshot.receive(Message.wantImage(job: 1).frame)) == .unexpectedFrame)
        var twice = ready()
        _ = twice.submit(JobSpec(), source: .image(image))
        #expect(failure(twice.receive(Message.wantImage(job: 1).frame)) == nil)
        #expect(failure(twice.receive(Message.wantImage(job: 1).frame)) == .unexpectedFrame)
        var unknown = ready()
        #expect(failure(unknown.receive(Message.wantImage(job: 1).frame)) == .unexpectedFrame)
    }

    @Test func `ACCEPTED before a wanted image is complete is a worker's mistake`() {
        var session = ready()
        _ = session.submit(JobSpec(), source: .image(image))
        _ = session.receive(Message.wantImage(job: 1).frame)
        #expect(failure(session.receive(Message.accepted(job: 1, Acceptance()).frame)) == .unexpectedFrame)
    }

    @Test func `a snapshot after no step is refused here, since the wire has no such thing`() throws {
        var session = ready()
        var spec = JobSpec()
        spec.snapshot = .steps(0)
        let submitted = session.submit(spec, source: .image(image))
        guard case .refused(1, let report)? = submitted?.actions.first else {
            Issue.record("not refused")
            return
        }
        #expect(report.knownCode == .invalidField)
    }

    @Test func `what a spec says of the start is sent with a snapshot's name, for the worker to refuse`() {
        let submit = Submit(everySpec, source: .snapshot(madeUp))
        #expect(submit.mode == 0 && submit.imageBytes == 0 && submit.memoryBytes == nil)
        #expect(submit.snapshotRefusal?.rule == .invalidField)
        #expect(Submit(JobSpec(hasInput: true), source: .snapshot(madeUp)).snapshotRefusal == nil)
        #expect(WorkerTerms.test.refusal(of: submit)?.rule == .invalidField)
    }
}
