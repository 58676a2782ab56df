// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVMJobClient

extension JobSource {
    /// Submits a job that has no input, or to which it is sent later.
    func submit(_ spec: JobSpec, to client: JobClient) async throws -> RunningJob {
        switch self {
        case .image(let image): try await client.submit(spec, image: image)
        case .program(let files): try await client.submit(spec, files: files)
        case .snapshot(let name): try await client.submit(spec, from: name)
        }
    }

    /// Submits a job with its input, or with the beginning of it.
    func submit(_ spec: JobSpec, to client: JobClient, input: [UInt8], moreInput: Bool) async throws -> RunningJob {
        switch self {
        case .image(let image):
            try await client.submit(spec, image: image.bytes, input: input, moreInput: moreInput)
        case .program(let files): try await client.submit(spec, files: files, input: input, moreInput: moreInput)
        case .snapshot(let name): try await client.submit(spec, from: name, input: input, moreInput: moreInput)
        }
    }
}
