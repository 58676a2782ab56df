// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Runs the jobs of a chunk that have no result, and publishes each result as it comes.
struct ChunkRun: Sendable {
    let spool: Spool
    let jobs: [SpoolJob]
    /// How often a job is run again after a host error.
    let retries: Int
    /// Jobs that the worker is given at once: some more than run, so that none of its slots waits for the next.
    let inFlight: Int
    /// Where each line goes too; nil for nowhere.
    let printed: ByteSink?
    private let objects: ObjectCache

    init(spool: Spool, jobs: [SpoolJob], retries: Int, inFlight: Int, printed: ByteSink?) {
        (self.spool, self.jobs, self.retries, self.inFlight, self.printed) = (spool, jobs, retries, inFlight, printed)
        objects = ObjectCache(spool: spool)
    }

    /// Returns when each job has a result.
    ///
    /// - Throws: ``CommandFailure`` for a spool that is broken or cannot be written, and for a worker that is lost; ``OutputError``.
    func run(on client: JobClient) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            var room = max(1, min(inFlight, Int(client.terms.jobLimit)))
            for job in jobs {
                if room > 0 { room -= 1 } else { try await group.next() }
                group.addTask { try await run(job, on: client) }
            }
            try await group.waitForAll()
        }
    }

    private func run(_ job: SpoolJob, on client: JobClient) async throws {
        let prepared = try await prepare(job)
        var retries = JobRetries(limit: retries)
        var report = try await prepared.run(on: client)
        while !report.end.isLost, let pause = retries.pause(after: report.end) {
            try await Task.sleep(for: pause)
            report = try await prepared.run(on: client)
        }
        // What a job comes to that is stopped with its worker is no result.
        try Task.checkCancellation()
        if case .lost(let reason) = report.end {
            throw CommandFailure.broken("this process's worker was lost: \(reason)")
        }
        let line = BatchResult(prepared, report).bytes
        _ = try await Spool.queue.perform { [spool] in try spool.publish(line, of: job.jobID) }
        // Behind a newline, since what stands before it may be a line that a lost worker did not end.
        try await printed?.write([UInt8(ascii: "\n")] + line)
    }

    private func prepare(_ job: SpoolJob) async throws -> BatchJob {
        let spec: JobSpec
        do {
            spec = try job.spec()
        } catch {
            throw Spool.failure(spool.path("chunks"), "have a job, \(job.jobID), that \(error.description)")
        }
        var images: [Image] = []
        for name in job.objects { images.append(try await objects.image(name)) }
        var input: [UInt8]?
        if let name = job.input { input = try await objects.image(name).bytes }
        return BatchJob(
            line: job.line, id: job.jobID, label: job.label, image: job.image, spec: spec,
            source: spec.program == nil ? .image(images[0]) : .program(images), input: input,
            hasOwnWallTime: job.hasOwnWallTime)
    }
}

/// Objects that many jobs have in common, read once.
actor ObjectCache {
    /// The most bytes that are kept: 512 MiB. Beyond them all are read again.
    static let bytesLimit = 512 << 20

    private let spool: Spool
    private var images: [String: Image] = [:]
    private var bytes = 0

    init(spool: Spool) { self.spool = spool }

    /// - Throws: ``CommandFailure``.
    func image(_ digest: String) async throws -> Image {
        if let image = images[digest] { return image }
        let spool = spool
        let image = try await Spool.queue.perform { try spool.object(digest) }
        if bytes + image.bytes.count > Self.bytesLimit { (images, bytes) = ([:], 0) }
        images[digest] = image
        bytes += image.bytes.count
        return image
    }
}
