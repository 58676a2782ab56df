// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol

/// One message of each type, filled in as a small job fills it in.
enum Samples {
    static let all: [(name: String, message: Message)] = [
        ("hello", .hello(hello)), ("ping", .ping(Array(1...8))), ("pong", .pong(Array(1...8))),
        ("go-away", .goAway(GoAway(.drain, lastJob: 7))),
        ("error", .error(job: 7, ErrorReport(Refusal(.imageEmpty, "the image has no bytes")))),
        ("window", .window(job: 7, Window(credit: 65_536))),
        ("submit", .submit(job: 7, Submit(spec, source: .image(Image(image))))),
        ("image", .image(job: 7, StreamChunk(offset: 0, bytes: image, isEnd: true))),
        ("input", .input(job: 7, StreamChunk(offset: 0, bytes: Array("hello".utf8), isEnd: true))),
        ("want-image", .wantImage(job: 7)), ("cancel", .cancel(job: 7)),
        ("extend", .extend(job: 7, Extend(steps: 1000))),
        ("accepted", .accepted(job: 7, Acceptance(queuePosition: 3))), ("started", .started(job: 7, started)),
        ("query", .query(.worker)), ("answer", .answer(.worker(WorkerReport()))), ("stop", .stop(.jobs([7]))),
        ("stopped", .stopped(.jobs([.stopped]))),
        ("output", .output(job: 7, .console, StreamChunk(offset: 0, bytes: Array("4\n".utf8)))),
        ("result", .result(job: 7, ResultReport(result))),
        (
            "paused",
            .paused(
                job: 7,
                Paused(
                    Pause(steps: 9, keepNanoseconds: 1, registers: Registers(), system: SystemRegisters())))
        ),
    ]

    /// Adds two numbers and prints the sum.
    static let image: [UInt8] = [0x00, 0xD8, 0x04, 0x30, 0xBA, 0xF8, 0x03, 0xEE, 0xB0, 0x0A, 0xEE, 0xF4]
    static let spec = JobSpec(label: "add", registers: [.rax: 2, .rbx: 2], budget: Budget(steps: 1000))

    static var result: JobResult {
        var result = JobResult(outcome: .halted)
        (result.steps, result.meter, result.outputBytes) = (7, .exact, 2)
        (result.queueNanoseconds, result.wallNanoseconds, result.cpuNanoseconds) = (1000, 30_000, 29_000)
        (result.registers, result.system) = (Registers(), SystemRegisters())
        return result
    }

    private static var hello: Hello {
        var hello = Hello(frameLimit: 65_536, window: 262_144, software: "kvmjobd 1.0")
        (hello.jobLimit, hello.imageLimit, hello.slots) = (256, 64 << 20, 2)
        (hello.memoryMinimum, hello.memoryMaximum, hello.wallMaximum) = (1 << 20, 1 << 30, 3_600_000_000_000)
        hello.modes = GuestMode.imageModes.map { Hello.ModeOffer(mode: $0.rawValue, meter: .exact) }
        return hello
    }

    private static var started: Started {
        var started = Started()
        (started.queueNanoseconds, started.stepBudget) = (1000, 1000)
        (started.wallBudget, started.memoryBytes) = (10_000_000_000, 16 << 20)
        return started
    }
}

extension Subject {
    /// The codec: a message to bytes, and a frame to its message.
    static let messages: [Subject] = Samples.all.flatMap { name, message in
        let (frame, count) = (message.frame, message.encode().count)
        return [
            Subject("encode-\(name)") { times in
                for _ in 0..<times { precondition(message.encode().count == count) }
            },
            Subject("decode-\(name)") { times in
                for _ in 0..<times {
                    guard let decoded = try? Message(frame: frame) else { preconditionFailure("\(name) is no message") }
                    keep(decoded)
                }
            },
        ]
    }
}

/// Keeps the optimiser from leaving out what made a value.
@inline(never) func keep<Value>(_ value: Value) {}
