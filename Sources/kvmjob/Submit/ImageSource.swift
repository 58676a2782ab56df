// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Where an image comes from, or what stands in its place.
enum ImageSource: Hashable, Sendable {
    case file(String)
    case standardInput
    /// Machine code written on the command line.
    case hex(String)
    /// No image: the job's memory is all in `--memory-at`.
    case none
    /// No image: the job starts from a snapshot that the worker has.
    case snapshot(ContentDigest)

    /// The most bytes of an image that are read, whatever the worker's limit: 1 GiB.
    static let byteLimit: UInt64 = 1 << 30

    /// A positional argument: a path, or "-".
    init(argument: String) { self = argument == "-" ? .standardInput : .file(argument) }

    /// As the user wrote it.
    var text: String {
        switch self {
        case .file(let path): path
        case .standardInput: "-"
        case .hex(let digits): digits
        case .none: "--memory-at"
        case .snapshot(let name): HexText.describe(digest: name.bytes)
        }
    }

    /// The image's bytes.
    ///
    /// Reads no more than a byte above the limit, so that an endless file is told apart early.
    ///
    /// - Throws: ``Rejection``.
    func load(limit: UInt64) async throws -> [UInt8] {
        switch self {
        case .file(let path): return try await Self.read(path, name: path, limit: limit)
        case .standardInput: return try await Self.read("-", name: "standard input", limit: limit)
        case .hex(let digits):
            do { return try HexText.parse(digits) } catch { throw Rejection.unreadable(error.description) }
        case .none, .snapshot: return []
        }
    }

    private static func read(_ path: String, name: String, limit: UInt64) async throws -> [UInt8] {
        let limit = min(limit, byteLimit)
        do {
            let image = try await ByteSource(path: path).readAll(limit: Int(limit) + 1)
            guard image.count <= limit else {
                throw Rejection(
                    code: "image-too-large", message: "\(name) is larger than \(SizeText.approximate(limit))",
                    limit: limit
                )
            }
            return image
        } catch let reason as SystemReason {
            throw Rejection.unreadable("cannot read \(name): \(reason.text)")
        }
    }
}
