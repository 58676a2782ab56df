// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import JobModel
internal import JobProtocol

/// The files that a batch's lines name, read and hashed once for all lines that share them.
///
/// What was used longest ago is forgotten where more than ``byteLimit`` would be held, and read again when a line names it.
actor BatchFiles {
    /// The most bytes that are kept: 256 MiB, but for a single file that has more.
    static let byteLimit = 256 << 20
    /// The most files and programs that are kept: 1024.
    static let countLimit = 1024

    private enum Key: Hashable {
        case image(ImageSource)
        /// All that decides on the files of a program; its arguments do not.
        case program(
            root: String?, items: [FileItem], environment: GuestEnvironment, program: String, directory: String?)
    }

    private enum Content {
        case image(Image)
        case program(ProgramSubmission)

        var byteCount: Int {
            switch self {
            case .image(let image): image.bytes.count
            case .program(let files): files.layers.reduce(0) { $0 + $1.bytes.count }
            }
        }
    }

    private var contents: [Key: (content: Content, lastUse: UInt64)] = [:]
    private var byteCount = 0
    private var uses: UInt64 = 0
    private let byteLimit: Int
    /// How many files and programs were read, those that were read again included.
    private(set) var readings = 0

    init(byteLimit: Int = BatchFiles.byteLimit) { self.byteLimit = byteLimit }

    /// A file's bytes with their digest, or those that are written out.
    ///
    /// - Throws: ``Rejection``.
    func image(_ source: ImageSource, limit: UInt64) async throws -> Image {
        let key = Key.image(source)
        if case .image(let image)? = recall(key), image.bytes.count <= limit { return image }
        let image = Image(try await source.load(limit: limit)).hashed
        keep(.image(image), as: key)
        return image
    }

    /// A program with all its files and these arguments.
    ///
    /// - Throws: ``CommandFailure``.
    func program(_ request: ProgramRequest, limit: UInt64) async throws -> ProgramSubmission {
        let key = Key.program(
            root: request.root, items: request.items, environment: request.environment, program: request.program,
            directory: request.directory)
        var submission: ProgramSubmission
        if case .program(let known)? = recall(key) {
            submission = known
        } else {
            submission = try await DispatchQueue(label: "kvmjob.files").perform {
                try request.submission(limit: min(limit, ImageSource.byteLimit))
            }
            keep(.program(submission), as: key)
        }
        submission.arguments = [request.program] + request.arguments
        return submission
    }

    private func recall(_ key: Key) -> Content? {
        uses += 1
        contents[key]?.lastUse = uses
        return contents[key]?.content
    }

    private func keep(_ content: Content, as key: Key) {
        readings += 1
        uses += 1
        if let old = contents.updateValue((content, uses), forKey: key) { byteCount -= old.content.byteCount }
        byteCount += content.byteCount
        while byteCount > byteLimit || contents.count > Self.countLimit, contents.count > 1,
            let oldest = contents.min(by: { $0.value.lastUse < $1.value.lastUse })
        {
            contents[oldest.key] = nil
            byteCount -= oldest.value.content.byteCount
        }
    }
}
