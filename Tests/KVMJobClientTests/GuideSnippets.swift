// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import KVMJobClient

// What stands between `// snippet NAME` and `// end` is, but for its indentation, the code block of that name in the articles of
// KVMJobClient.docc: GuideTests compares them, and runs them.

enum GuideSnippets {
    static func connect() async throws -> JobClient {
        // snippet connect
        let client = try await JobClient.connect(path: "/run/kvmjob/kvmjobd.sock")
        // end
        return client
    }

    static func submit(_ client: JobClient) async throws -> Outcome {
        // snippet submit
        var spec = JobSpec(label: "greeting", mode: .real16)
        spec.budget.steps = 1_000_000
        // mov al, '!'; out 0xe9, al; hlt
        let job = try await client.submit(spec, image: [0xB0, 0x21, 0xE6, 0xE9, 0xF4])
        for try await chunk in job.output where chunk.channel == .console {
            print(String(decoding: chunk.bytes, as: UTF8.self), terminator: "")
        }
        let result = try await job.result()
        print(result.outcome, result.steps ?? 0)
        // end
        return result.outcome
    }

    static func program(_ client: JobClient, archive: [UInt8], text: [UInt8]) async throws -> Outcome {
        // snippet program
        var spec = JobSpec(mode: .linux, memoryBytes: 64 << 20)
        spec.program = ProgramSpec(
            path: Array("/bin/sort".utf8), arguments: ["sort", "-n"].map { Array($0.utf8) }, environment: [])
        let files = Image(archive).hashed
        let job = try await client.submit(spec, files: [files], input: text)
        for try await chunk in job.output {
            let isError = chunk.channel == .standardError
            print(isError ? "sort says:" : "", String(decoding: chunk.bytes, as: UTF8.self))
        }
        guard case .exited(let status) = try await job.result().outcome else { return .halted }
        // end
        return .exited(code: status)
    }

    static func cancel(_ client: JobClient, _ spec: JobSpec, _ image: [UInt8]) async throws -> Outcome {
        // snippet cancel
        let job = try await client.submit(spec, image: image)
        job.discardOutput()
        let waiting = Task { try await job.result() }
        waiting.cancel()
        let outcome = try await waiting.value.outcome
        // end
        return outcome
    }

    static func refusal(_ client: JobClient, _ spec: JobSpec, _ image: [UInt8]) async throws -> String {
        // snippet refusal
        do {
            _ = try await client.submit(spec, image: image)
        } catch let error as JobClientError where error.isRetryable {
            return "try again later: \(error)"
        } catch let error as JobClientError {
            return error.refusal.map { "not this job: \($0.name), at most \($0.limit ?? 0)" } ?? "no worker: \(error)"
        }
        // end
        return ""
    }

    static func detach(_ client: JobClient, _ image: Image) async throws -> UInt64? {
        // snippet detach
        var spec = JobSpec(label: "week 7")
        spec.detachment = Detachment(key: "week-7/alice")
        let acceptance = try await client.detach(spec, image: image)
        let id = acceptance.id
        // end
        return id
    }

    static func follow(_ id: UInt64, connect: @Sendable () async throws -> JobClient) async throws -> JobResult? {
        // snippet follow
        var request = AttachRequest(id: id)
        while true {
            let client = try await connect()
            do {
                let job = try await client.attach(request)
                defer { request = job.resumption }
                for try await chunk in job.output { print(chunk.bytes.count, "bytes on", chunk.channel) }
                if let result = try await job.result() { return result }
            } catch let error as JobClientError where error.refusal?.name == "run-over" {
                request = AttachRequest(id: id)  // The job began anew: so does its output.
            } catch let error as JobClientError where error.isRetryable {
                try await Task.sleep(for: .milliseconds(200))
            }
        }
        // end
    }

    static func tidy(_ client: JobClient) async throws -> Int {
        // snippet tidy
        let ended = try await client.detachedJobs().filter { $0.state == .ended }
        let answers = try await client.forget(ended.map(\.id))
        // end
        return answers.count { $0 == .stopped }
    }
}
