// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Why bytes are not taken as an ELF file, or as one of its parts.
public struct ELFError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The rule that the bytes broke.
    public enum Rule: Sendable, Hashable, CaseIterable {
        /// The file does not begin as ELF files do.
        case notELF
        /// The file ends before something that it says it has.
        case truncated
        /// It is for another machine: not little-endian, not x86, or of a class that is not read there.
        case otherMachine
        /// It is neither a program nor a shared object.
        case notLoadable
        /// There are no program headers, too many, or headers of another size.
        case programHeaders
        /// Nothing of the file belongs in memory.
        case noSegments
        /// A segment has more bytes in the file than in memory.
        case segmentSize
        /// A segment's alignment is no power of two.
        case segmentAlignment
        /// A segment, or the entry point, is above the addresses that a program can have.
        case addressRange
        /// Two segments share addresses.
        case segmentOverlap
        /// The interpreter's path is empty, too long, or has no end.
        case interpreter
        /// The dynamic section is too long, or lists too many libraries.
        case dynamicSection
        /// A string lies outside its table, is too long, or has no end.
        case string
        /// The section headers are too many, or of another size.
        case sectionHeaders
        /// The symbol table has too many symbols, or symbols of another size.
        case symbolTable
    }

    /// The rule that was broken.
    public var rule: Rule
    /// The field that broke it, by the name that the specification of ELF gives it: `p_filesz`.
    public var field: String
    /// What the file has there; nil of a field that is no number.
    public var value: UInt64?
    /// What was wrong and what would be right, in one sentence.
    public var message: String
    /// Where in the file, in bytes from its start.
    public var offset: UInt64

    /// The message and the place, for people.
    public var description: String { "\(message) (at byte \(offset) of the file)" }

    init(_ rule: Rule, _ field: String, _ value: UInt64? = nil, at offset: UInt64, _ message: String) {
        (self.rule, self.field, self.value) = (rule, field, value)
        (self.offset, self.message) = (offset, message)
    }
}
