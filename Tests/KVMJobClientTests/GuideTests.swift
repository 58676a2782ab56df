// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import JobProtocol
import KVMJobClient
import NIOConcurrencyHelpers
import Testing

/// Accepts all that comes, writes a line, and ends; keeps detached jobs under the number 9.
private let willing: ScriptedWorker.Script = { order, session in
    switch order {
    case .submit(let job, let spec, _):
        guard spec.detachment == nil else { return session.accepted(job, Acceptance(id: 9)) }
        if spec.label == "refused" {
            return session.refused(job, Refusal(.imageTooLarge, "too large", limit: 5, value: 6))
        }
        if spec.label == "endless" { return session.run(job) }
        let outcome: Outcome = spec.mode == .linux ? .exited(code: 3) : .halted
        return session.run(job) + session.output(job, .console, [0x21])
            + session.finished(job, JobResult(outcome: outcome))
    case .cancel(let job, let canceller): return session.finished(job, JobResult(outcome: .cancelled(by: canceller)))
    case .lookUp(let job, _, _): return session.imageWanted(job)
    case .lookUpLayers(let job, let layers): return session.layersFound(job, layers.map { _ in nil })
    case .query(.detached):
        let jobs = [DetachedJob.State.ended, .running].enumerated().map {
            DetachedJob(id: UInt64($0), tenant: .user(1), state: $1)
        }
        return session.answer(.detached(jobs, more: false))
    case .stop(.keeping(let ids)): return session.stopAnswered(.keeping(ids.map { _ in .stopped }))
    default: return []
    }
}

@Suite(.timeLimit(.minutes(1))) struct GuideTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// The snippets by their names, each without the indentation that it has in the source.
    private static func snippets() throws -> [String: String] {
        let source = root.appending(path: "Tests/KVMJobClientTests/GuideSnippets.swift")
        var (found, current): ([String: String], (name: String, lines: [Substring])?) = ([:], nil)
        for line in try String(contentsOf: source, encoding: .utf8).split(
            separator: "\n", omittingEmptySubsequences: false)
        {
            let words = line.split(separator: " ")
            if words.starts(with: ["//", "snippet"]), words.count == 3 {
                current = (String(words[2]), [])
            } else if words == ["//", "end"], let snippet = current {
                found[snippet.name] = snippet.lines.map { $0.dropFirst(8) }.joined(separator: "\n")
                current = nil
            } else {
                current?.lines.append(line)
            }
        }
        return found
    }

    @Test func `every snippet stands in an article as it is compiled here, and every code block of an article is one`()
        throws
    {
        let folder = Self.root.appending(path: "Sources/KVMJobClient/KVMJobClient.docc")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".md") }
        let text = try names.map { try String(contentsOf: folder.appending(path: $0), encoding: .utf8) }.joined()
        let blocks = text.components(separatedBy: "```swift\n").dropFirst().map {
            String($0.components(separatedBy: "\n```")[0])
        }
        let snippets = try Self.snippets()
        #expect(snippets.count == 8 && names.count == 3)
        for (name, snippet) in snippets { #expect(blocks.contains(snippet), "\(name) stands in no article") }
        for block in blocks where !block.hasPrefix("// Package.swift") {
            #expect(snippets.values.contains(block), "nobody compiles: \(block)")
        }
    }

    @Test func `the snippets do what the articles say`() async throws {
        let (client, _) = try await ScriptedWorker.connect(script: willing)
        #expect(try await GuideSnippets.submit(client) == .halted)
        let program = try await GuideSnippets.program(client, archive: [1, 2, 3], text: Array("2\n1\n".utf8))
        #expect(program == .exited(code: 3))
        #expect(try await GuideSnippets.cancel(client, JobSpec(label: "endless"), [1]) == .cancelled(by: .client))
        let refusal = try await GuideSnippets.refusal(client, JobSpec(label: "refused"), [1])
        #expect(refusal == "not this job: image-too-large, at most 5")
        #expect(try await GuideSnippets.detach(client, Image([1])) == 9)
        #expect(try await GuideSnippets.tidy(client) == 1)
        await client.shutdown()
    }

    @Test
    func `following a job through a lost connection and a run that began anew gives each byte of the last run once`()
        async throws
    {
        let requests = NIOLockedValueBox<[AttachRequest]>([])
        let connect: @Sendable () async throws -> JobClient = {
            let (client, worker) = try await ScriptedWorker.connect { order, session in
                guard case .attach(let job, let request) = order else { return [] }
                let number = requests.withLockedValue { requests in
                    requests.append(request)
                    return requests.count
                }
                var state = DetachedJob(id: 9, tenant: .user(1), state: .running)
                state.run = number < 3 ? 1 : 2
                switch number {
                case 1: return session.attached(job, state: state) + session.output(job, .console, [1, 2]) + [.close]
                case 2: return session.refused(job, Refusal(.runOver, "run 2 it is", limit: 2, value: 1))
                default:
                    return session.attached(job, state: state) + session.output(job, .console, [1, 2, 3])
                        + session.finished(job, JobResult(outcome: .halted))
                }
            }
            withExtendedLifetime(worker) {}
            return client
        }
        #expect(try await GuideSnippets.follow(9, connect: connect)?.outcome == .halted)
        let asked = requests.withLockedValue { $0 }
        #expect(asked.map(\.run) == [nil, 1, nil])
        #expect(asked.map(\.offsets) == [[:], [.console: 2], [:]])
    }

    @Test func `where there is no worker, connecting says so`() async throws {
        guard !FileManager.default.fileExists(atPath: "/run/kvmjob") else { return }
        let error = await #expect(throws: JobClientError.self) { try await GuideSnippets.connect() }
        #expect(error?.code == .noSocket)
    }
}
