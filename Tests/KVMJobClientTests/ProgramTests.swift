// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import KVMJobClient
import Testing

private let base = Image((0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 13 >> 2) })
private let tools = Image([1, 2, 3])

private let program: JobSpec = {
    var spec = JobSpec(mode: .linux, memoryBytes: ProgramSpec.defaultMemoryBytes)
    spec.program = ProgramSpec(path: Array("/bin/true".utf8), arguments: [Array("true".utf8)])
    return spec
}()

/// A worker that has these layers, and lets each program write both its streams and exit with the number of its layers' bytes.
private func having(_ known: [Image]) -> ScriptedWorker.Script {
    { order, session in
        switch order {
        case .lookUpLayers(let job, let layers):
            return session.layersFound(job, layers.map { layer in known.first { $0.digest == layer.digest }?.bytes })
        case .submit(let job, _, .program(let layers)):
            let whole = layers.map(\.bytes) == [base.bytes, tools.bytes]
            var result = JobResult(outcome: .exited(code: whole ? 3 : 4))
            result.program = ProgramReport(systemCalls: 7, unknownCalls: [101], peakBytes: 4096)
            return session.run(job) + session.output(job, .standardError, [0x65, 0x72, 0x72])
                + session.output(job, .console, [0x6F]) + session.finished(job, result)
        default: return []
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct ProgramTests {
    @Test(arguments: [[], [base.hashed], [tools.hashed], [base.hashed, tools.hashed]])
    func `a program's layers are sent where the worker has them not`(known: [Image]) async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: having(known))
        let job = try await client.submit(program, files: [base, tools])
        var written: [OutputChunk] = []
        for try await chunk in job.output { written.append(chunk) }
        #expect(written.map(\.channel) == [.standardError, .console] && written.map(\.bytes.count) == [3, 1])
        let result = try await job.result()
        #expect(result.outcome == .exited(code: 3))
        #expect(result.program == ProgramReport(systemCalls: 7, unknownCalls: [101], peakBytes: 4096))
        #expect((try await worker.count(of: .image) == 0) == (known.count == 2))
        await client.shutdown()
    }

    @Test func `a layer with another's digest is refused`() async throws {
        let (client, _) = try await ScriptedWorker.connect(script: having([]))
        let lie = Image(tools.bytes, digest: base.hashed.digest)
        let error = await #expect(throws: JobClientError.self) { try await client.submit(program, files: [lie]) }
        #expect(error?.refusal?.name == "image-digest-mismatch")
        await client.shutdown()
    }

    @Test func `a program's input is streamed, and what begins it goes ahead of the layers that are sent`() async throws
    {
        let (client, _) = try await ScriptedWorker.connect { order, session in
            switch order {
            case .lookUpLayers(let job, let layers): session.layersFound(job, layers.map { _ in nil })
            case .submit(let job, let spec, _): spec.hasInput ? session.run(job) : []
            case .input(let job, let bytes, let end):
                session.output(job, .console, bytes) + session.inputConsumed(job, bytes.count)
                    + (end ? session.finished(job, JobResult(outcome: .exited(code: 0))) : [])
            default: []
            }
        }
        let job = try await client.submit(program, files: [tools], input: [1, 2], moreInput: true)
        try await job.send([3])
        try await job.finishInput()
        var echo: [UInt8] = []
        for try await chunk in job.output { echo += chunk.bytes }
        #expect(echo == [1, 2, 3])
        await client.shutdown()
    }

    @Test func `a program without files is refused before it is sent`() async throws {
        let (client, _) = try await ScriptedWorker.connect { _, _ in [] }
        let error = await #expect(throws: JobClientError.self) { try await client.submit(program, files: []) }
        #expect(error?.refusal?.name == "invalid-field" && error?.message.contains("layers") == true)
        await client.shutdown()
    }
}
