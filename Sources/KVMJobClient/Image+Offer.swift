// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
internal import JobProtocol

extension Image {
    /// The least bytes of an image that is submitted by its digest: 4 KiB. The bytes of a smaller one are sent sooner than a digest
    /// is computed and looked up.
    public static let leastOffered = 4096

    /// An image to submit any number of times. Of one of at least ``leastOffered`` bytes the digest is computed here, once, which
    /// takes about a millisecond for each MiB: a worker that still has the image from an earlier job of this user does not ask for
    /// its bytes again.
    public init(submitting bytes: [UInt8]) {
        let image = Image(bytes)
        self = bytes.count < Self.leastOffered ? image : image.hashed
    }
}
