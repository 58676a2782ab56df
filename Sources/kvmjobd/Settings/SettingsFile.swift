// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Glibc
internal import TOML

/// The settings file: TOML, with the options' names as keys.
struct SettingsFile: Sendable {
    /// Read where the command line names no other, if it is there.
    static let usualPath = "/etc/kvmjob/kvmjobd.conf"

    /// One key of the file, its value right.
    struct Entry: Sendable {
        var assignment: OptionRule.Assignment
        /// Its line, counted from 1.
        var line: Int
    }

    /// What is wrong with a file: one sentence for each mistake, in the order of the file.
    struct Mistakes: Error {
        var sentences: [String]
    }

    let path: String
    /// By key.
    let entries: [String: Entry]

    /// Reads the file at a path.
    init(path: String) throws(Mistakes) {
        let document: TOMLDocument
        do throws(TOMLError) { document = try TOMLDocument(path: path) } catch { throw Self.mistake(error, path) }
        try self.init(path: path, document: document)
    }

    /// Takes a document as the file at a path.
    init(path: String, document: TOMLDocument) throws(Mistakes) {
        var entries: [String: Entry] = [:]
        var sentences: [String] = []
        for entry in document.entries {
            do throws(Mistake) {
                entries[entry.key] = Entry(assignment: try Self.read(entry), line: entry.line)
            } catch {
                sentences.append("\(path):\(entry.line): \(entry.key) \(error.sentence)")
            }
        }
        guard sentences.isEmpty else { throw Mistakes(sentences: sentences) }
        (self.path, self.entries) = (path, entries)
    }

    /// What is wrong with one entry, to follow its key.
    private struct Mistake: Error {
        var sentence: String
    }

    private static func read(_ entry: TOMLDocument.Entry) throws(Mistake) -> OptionRule.Assignment {
        guard let rule = OptionRule.all.first(where: { $0.key == entry.key }) else {
            throw Mistake(sentence: "is no setting of kvmjobd: " + advice(for: entry.key))
        }
        guard let text = rule.fileType.text(entry.value) else {
            throw Mistake(
                sentence: "takes \(rule.fileType.phrase): \(rule.wanted); not \(entry.value.described)")
        }
        do throws(Unfit) {
            return try rule.read(text)
        } catch {
            let found = rule.fileType == .integer ? error.text : QuotedText.of(error.text)
            throw Mistake(sentence: "takes \(rule.wanted), not \(found)")
        }
    }

    private static func advice(for key: String) -> String {
        let near = OptionRule.all.map(\.key).min { key.distance(to: $0) < key.distance(to: $1) }
        guard let near, key.distance(to: near) <= 2 else { return "kvmjobd --print-default-config prints all that are" }
        return "did you mean \(near)?"
    }

    private static func mistake(_ error: TOMLError, _ path: String) -> Mistakes {
        switch error {
        case .unreadable(ENOENT): Mistakes(sentences: ["\(path): there is no such file"])
        case .unreadable(EACCES): Mistakes(sentences: ["\(path): kvmjobd's user may not read it (chmod a+r)"])
        case .unreadable(EISDIR): Mistakes(sentences: ["\(path) is a directory; a file is wanted"])
        case .unreadable(let errno): Mistakes(sentences: ["\(path) cannot be read: errno \(errno)"])
        case .tooLong(let limit): Mistakes(sentences: ["\(path) is longer than \(limit) bytes"])
        case .syntax(let message, let line): Mistakes(sentences: ["\(path):\(line): this is no TOML: \(message)"])
        }
    }
}

extension SettingsFile {
    /// A file with every key, commented out, which says what each is for: the one that is installed.
    static var template: String {
        let sections = OptionRule.sections.map { section in
            ([ruler(section.title)] + section.rules.map(entry)).joined(separator: "\n\n")
        }
        return ([head] + sections).joined(separator: "\n\n")
    }

    private static let head = """
        # SPDX-License-Identifier: Apache-2.0
        # SPDX-FileCopyrightText: The kvmjob authors
        #
        # Settings of kvmjobd, in TOML. The keys are the names of its options without the dashes, and options on its
        # command line win over this file. What is commented out here is the default, or an example where the default
        # is something else. After a change: kvmjobd --check-config, then systemctl try-restart kvmjobd.
        # The manual page kvmjobd(8) says more.
        """

    private static func ruler(_ title: String) -> String { "# --- " + title }

    private static func entry(_ rule: OptionRule) -> String {
        let lines = HelpText.wrapped(rule.help, indent: "# ") + HelpText.wrapped("Takes \(rule.wanted).", indent: "# ")
        let usual = HelpText.wrapped("Default: \(rule.usual).", indent: "# ")
        return (lines + usual + ["#\(rule.key) = \(rule.fileType.literal(rule.example))"]).joined(separator: "\n")
    }
}

extension FileType {
    /// A value of this type as the command line has it, or nil for one of another type.
    fileprivate func text(_ value: TOMLValue) -> String? {
        switch (self, value) {
        case (.string, .string(let text)): return text
        case (.integer, .integer(let number)): return String(number)
        case (.array, .array(let elements)):
            let texts = elements.compactMap { element -> String? in
                switch element {
                case .string(let text): text.isEmpty || text.contains(",") ? nil : text
                case .integer(let number): String(number)
                case .array, .other: nil
                }
            }
            return texts.count == elements.count ? texts.joined(separator: ",") : nil
        default: return nil
        }
    }
}

extension TOMLValue {
    /// For people, with an article.
    fileprivate var described: String {
        switch self {
        case .string(let text): "the string \(QuotedText.of(text))"
        case .integer(let number): "the integer \(number)"
        case .array: "such an array"
        case .other(let name): name
        }
    }
}

extension String {
    /// How many letters have to be put in, left out or changed to make this that (Levenshtein), up to the length of a key.
    fileprivate func distance(to other: String) -> Int {
        let (mine, others) = (Array(utf8.prefix(64)), Array(other.utf8))
        var row = Array(0...others.count)
        for (index, byte) in mine.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for (column, otherByte) in others.enumerated() {
                let changed = diagonal + (byte == otherByte ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = Swift.min(changed, diagonal + 1, row[column] + 1)
            }
        }
        return row[others.count]
    }
}
