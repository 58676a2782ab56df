// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Why no plan can be made of an image: which field of which header, or which option, what it says, and what would be right.
public struct LaunchError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kind of what is wrong. The raw values are the names in JSON.
    public enum Rule: String, Sendable, Hashable, CaseIterable {
        /// The bytes are not of the format that they were said to be of.
        case otherFormat = "other-format"
        /// The file ends before something that it says it has.
        case truncated
        /// A field has a value that its specification does not allow, or that contradicts another.
        case invalidField = "invalid-field"
        /// The image asks for something that there is not.
        case unsupported
        /// Something belongs where there is no guest memory.
        case outsideMemory = "outside-memory"
        /// Two things belong at the same address.
        case overlap
        /// The first instruction is in no part of the image.
        case entryOutsideImage = "entry-outside-image"
        /// There is more of something than is taken.
        case tooMany = "too-many"
        /// What a boot loader makes does not fit beside the image.
        case noRoom = "no-room"
        /// An option does not go with the format, or is out of range.
        case option
    }

    /// The rule that was broken.
    public var rule: Rule
    /// The field, by the name that its specification gives it, as in `p_paddr`; or the option, as in `--memory`.
    public var field: String
    /// What it says, where that is a number.
    public var value: UInt64?
    /// Where it is in the file, in bytes from the start.
    public var offset: UInt64?
    /// What was wrong and what would be right, in one sentence.
    public var message: String

    /// The field, its value and the message, for people.
    public var description: String {
        let value = value.map { " = \($0.hexadecimal)" } ?? ""
        let place = offset.map { " at byte \($0)" } ?? ""
        return "\(field)\(value)\(place): \(message)"
    }

    init(_ rule: Rule, _ field: String, _ value: UInt64? = nil, at offset: UInt64? = nil, _ message: String) {
        (self.rule, self.field, self.value) = (rule, field, value)
        (self.offset, self.message) = (offset, message)
    }

    /// What is wrong with an ELF file, as an image.
    init(_ error: ELFError) {
        let rule: Rule =
            switch error.rule {
            case .notELF: .otherFormat
            case .truncated: .truncated
            case .otherMachine, .notLoadable, .interpreter: .unsupported
            case .addressRange: .outsideMemory
            case .segmentOverlap: .overlap
            case .programHeaders, .noSegments, .segmentSize, .segmentAlignment, .dynamicSection, .string,
                .sectionHeaders, .symbolTable:
                .invalidField
            }
        self.init(rule, error.field, error.value, at: error.offset, error.message)
    }

    /// Whether more guest memory could help.
    var isOfMemory: Bool { rule == .outsideMemory || rule == .noRoom }
}
