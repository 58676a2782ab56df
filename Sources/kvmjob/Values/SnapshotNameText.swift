// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A snapshot's name on the command line: the 64 hexadecimal digits that `kvmjob snapshot` prints.
enum SnapshotNameText {
    private static let digits = 2 * ContentDigest.byteCount

    /// The name that an argument is.
    static func parse(_ text: String) throws(ValueError) -> ContentDigest {
        if let wrong = text.first(where: { !$0.isHexDigit || !$0.isASCII }) {
            throw ValueError(
                "\"\(text)\" is no snapshot's name, for \"\(wrong)\" is no hexadecimal digit: give what kvmjob snapshot printed"
            )
        }
        guard text.count == digits, let name = ContentDigest(try HexText.parse(text)) else {
            throw ValueError(
                "a snapshot's name has \(digits) digits, this one has \(text.count): it cannot be shortened; give what "
                    + "kvmjob snapshot printed")
        }
        return name
    }
}
