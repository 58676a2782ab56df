// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import FrameStreams
import JobModel
import JobProtocol
import JobTransport
import KVMJobClient
import NIOCore
import NIOPosix
import Testing

@testable import Worker

/// Prints a letter and halts; of any size from six bytes on.
func printing(_ letter: Character, bytes: Int = 100_000) -> Image {
    let code: [UInt8] = [0xB8, letter.asciiValue ?? 0, 0x00, 0xE6, 0xE9, 0xF4]
    return Image(code + [UInt8](repeating: 0x90, count: bytes - code.count)).hashed
}

/// A client by hand, which counts the frames of images.
final class CountingClient {
    private(set) var wanted = 0
    private(set) var sentImageBytes = 0
    private var session = ClientSession(software: "test")
    private let channel: any Channel
    private var frames: AsyncStream<Frame>.AsyncIterator

    struct End: Equatable {
        var output: [UInt8] = []
        var outcome: Outcome?
        var refusal: ErrorCode?

        static func printed(_ letter: Character) -> End { End(output: [letter.asciiValue ?? 0], outcome: .halted) }
        static func refused(_ code: ErrorCode) -> End { End(refusal: code) }
    }

    convenience init(to worker: TestWorker) async throws {
        let (near, far) = try UnixSocket.connectedPair()
        Task { try await worker.worker.serve(descriptor: far) }
        try await self.init(descriptor: near)
    }

    /// Over a socket whose other end a worker serves.
    init(descriptor near: CInt) async throws {
        let collector = FrameCollector()
        channel = try await FramedSocket.adopt(
            descriptor: near, as: .client, frameLimit: 65_536, on: MultiThreadedEventLoopGroup.singleton
        ) { channel, _ in try channel.pipeline.syncOperations.addHandler(collector) }
        frames = collector.frames.makeAsyncIterator()
        while session.terms == nil, let frame = await frames.next() { send(session.receive(frame)) }
    }

    private func send(_ actions: [ClientAction]) {
        for case .send(let bytes) in actions { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }
    }

    private func sendImage(_ job: UInt32) {
        while let frame = session.nextImageFrame(job) {
            sentImageBytes += frame.count - FrameHeader.size - StreamChunk.headerSize
            send([.send(frame)])
        }
    }

    /// Announces an image and sends none of it.
    func announce(_ image: Image) { _ = session.submit(JobSpec(), source: .image(image)).map { send($0.actions) } }

    /// Runs a job to its end.
    func run(_ image: Image, _ spec: JobSpec = JobSpec()) async throws -> End {
        try await run(.image(image), spec)
    }

    func run(_ source: JobSource, _ spec: JobSpec = JobSpec()) async throws -> End {
        let submitted = session.submit(spec, source: source)
        let (job, actions) = try #require(submitted)
        send(actions)
        sendImage(job)
        var end = End()
        while let frame = await frames.next() {
            for action in session.receive(frame) {
                switch action {
                case .imageWanted(job):
                    wanted += 1
                    sendImage(job)
                case .output(job, .console, let bytes): end.output += bytes
                case .finished(job, let result):
                    end.outcome = result.outcome
                    return end
                case .refused(job, let report):
                    end.refusal = report.knownCode
                    return end
                case .send: send([action])
                default: break
                }
            }
        }
        return end
    }
}

@Suite("Images that a worker knows", .enabled(if: kvmIsUsable, "no usable /dev/kvm"), .timeLimit(.minutes(1)))
struct ImageTests {
    @Test func `an image is uploaded once, and every connection of its user can name it`() async throws {
        let worker = try await TestWorker()
        let first = try await CountingClient(to: worker)
        for _ in 0..<5 { #expect(try await first.run(printing("a")) == .printed("a")) }
        #expect(first.wanted == 1 && first.sentImageBytes == 100_000)
        let second = try await CountingClient(to: worker)
        #expect(try await second.run(printing("a")) == .printed("a"))
        #expect(second.wanted == 0 && second.sentImageBytes == 0)
        #expect(try await second.run(printing("b")) == .printed("b"))
        #expect(second.wanted == 1)
        #expect(try await first.run(printing("b")) == .printed("b"))
        #expect(first.wanted == 1)
    }

    @Test(arguments: [WorkerLimits(knownImages: 1), WorkerLimits(knownImageBytes: 150_000)])
    func `an image that made room for another is asked for again`(limits: WorkerLimits) async throws {
        let client = try await CountingClient(to: try await TestWorker(limits: limits))
        for letter in "aabbab" { #expect(try await client.run(printing(letter)) == .printed(letter)) }
        #expect(client.wanted == 4)
    }

    @Test func `a worker that keeps no images asks for each`() async throws {
        let limits = WorkerLimits(knownImageBytes: 0, startingPointBytes: 0)
        let client = try await CountingClient(to: try await TestWorker(limits: limits))
        for _ in 0..<3 { #expect(try await client.run(printing("a")) == .printed("a")) }
        #expect(client.wanted == 3)
    }

    @Test func `bytes with another's digest are refused and not kept`() async throws {
        let client = try await CountingClient(to: try await TestWorker())
        let lie = Image(printing("x").bytes, digest: printing("a").digest)
        for _ in 0..<2 { #expect(try await client.run(lie) == .refused(.imageDigestMismatch)) }
        #expect(client.wanted == 2)
        #expect(try await client.run(printing("a")) == .printed("a"))
        #expect(client.wanted == 3, "nothing was kept under that digest")
        let other = Image(printing("x", bytes: 99_999).bytes, digest: printing("a").digest)
        #expect(try await client.run(other) == .refused(.imageDigestMismatch))
        #expect(try await client.run(printing("a")) == .printed("a"))
        #expect(client.wanted == 4, "the lie about its size was asked for, the image was still there")
    }

    @Test func `a known image is judged anew for every job`() async throws {
        let client = try await CountingClient(to: try await TestWorker())
        let wrong = JobSpec(mode: .protected32, entryPoint: 1 << 40)
        #expect(try await client.run(printing("a"), wrong) == .refused(.entryOutsideMemory))
        #expect(try await client.run(printing("a")) == .printed("a"))
        #expect(try await client.run(printing("a"), wrong) == .refused(.entryOutsideMemory))
        // Behind the MOV, AL is what the job says.
        let other = JobSpec(entryPoint: 0x1003, registers: [.rax: 0x7A])
        #expect(try await client.run(printing("a"), other) == .printed("z"))
        #expect(client.wanted == 1)
    }

    @Test func `a known image needs no room for uploads`() async throws {
        let worker = try await TestWorker(limits: WorkerLimits(uploadBytes: 150_000))
        let client = try await CountingClient(to: worker)
        #expect(try await client.run(printing("a")) == .printed("a"))
        let slow = try await CountingClient(to: worker)
        slow.announce(Image([UInt8](repeating: 0, count: 100_000)))
        // The worker has taken that in when it has answered on the same connection.
        #expect(try await slow.run(printing("s", bytes: 10)) == .printed("s"))
        #expect(try await client.run(printing("b")) == .refused(.queueFull))
        #expect(try await client.run(printing("a")) == .printed("a"))
    }

    @Test func `the client library names images that are worth it, and runs them right`() async throws {
        let client = try await TestWorker().connect()
        for size in [6, Image.leastOffered - 1, Image.leastOffered, 200_000] {
            let bytes = printing("q", bytes: size).bytes
            let image = Image(submitting: bytes)
            #expect((image.digest == nil) == (size < Image.leastOffered))
            for _ in 0..<2 {
                #expect(try await client.submit(JobSpec(), image: image).result().outcome == .halted)
                #expect(try await client.submit(JobSpec(), image: bytes).result().outputBytes == 1)
            }
        }
        let lie = Image(printing("x").bytes, digest: printing("y").digest)
        let error = await #expect(throws: JobClientError.self) { try await client.submit(JobSpec(), image: lie) }
        #expect(error?.refusal?.name == "image-digest-mismatch" && error?.isRetryable == false)
    }

    @Test func `a large image's input is there before its guest, however often it comes`() async throws {
        // mov dx,0x3fd; in al,dx; out 0xe9,al; hlt: line status, of which bit 0 says that a byte is there.
        let look: [UInt8] = [0xBA, 0xFD, 0x03, 0xEC, 0xE6, 0xE9, 0xF4] + [UInt8](repeating: 0x90, count: 9000)
        let client = try await TestWorker().connect()
        for _ in 0..<20 {
            let job = try await client.submit(JobSpec(), image: look, input: [1])
            var seen: [UInt8] = []
            for try await chunk in job.output { seen += chunk.bytes }
            #expect(seen.map { $0 & 1 } == [1])
        }
    }
}
