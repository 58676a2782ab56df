// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobTransport

/// How the values of a kind of option are written: on the command line as text, in the settings file as a TOML type.
struct ValueForm<Value: Sendable>: Sendable {
    /// What stands for the value in the help text.
    var placeholder: String
    /// What a right value looks like, to end a sentence with.
    var wanted: String
    /// What it is in the settings file.
    var fileType: FileType
    /// The value that a text writes.
    var read: @Sendable (String) throws(Unfit) -> Value
    /// The text that writes a value.
    var write: @Sendable (Value) -> String
}

/// A text, or the part of one, that is not what was wanted.
struct Unfit: Error {
    var text: String
}

/// The type of a value in the settings file.
enum FileType: String, Sendable {
    /// A string in quotes.
    case string
    /// An integer.
    case integer
    /// An array of strings and integers; on the command line their texts with commas between.
    case array

    /// With an article, to follow "takes".
    var phrase: String {
        switch self {
        case .string: "a string in quotes"
        case .integer: "an integer"
        case .array: "an array such as [\"alice\", 1000]"
        }
    }

    /// A value as TOML writes it, from what the command line has for it.
    func literal(_ text: String) -> String {
        switch self {
        case .integer: text
        case .string: QuotedText.of(text)
        case .array:
            "["
                + text.split(separator: ",").map { Int($0) == nil ? QuotedText.of(String($0)) : String($0) }
                .joined(separator: ", ") + "]"
        }
    }
}

extension ValueForm where Value == Int {
    /// A whole number.
    static func count(_ range: ClosedRange<Int>) -> ValueForm {
        ValueForm(
            placeholder: "N", wanted: "a number from \(range.lowerBound) to \(range.upperBound)", fileType: .integer,
            read: { text throws(Unfit) in
                guard let number = Int(text), range.contains(number) else { throw Unfit(text: text) }
                return number
            }, write: { String($0) })
    }
}

extension ValueForm where Value == UInt64 {
    /// Bytes: a whole number and its unit, or 0 where the range has that.
    static func size(_ range: ClosedRange<UInt64>) -> ValueForm {
        ValueForm(
            placeholder: "SIZE",
            wanted: "a size such as 64MiB or 2GiB, from \(write(range.lowerBound)) to \(write(range.upperBound))",
            fileType: .string,
            read: { text throws(Unfit) in
                guard let bytes = bytes(text), range.contains(bytes) else { throw Unfit(text: text) }
                return bytes
            }, write: { write($0) })
    }

    private static func bytes(_ text: String) -> UInt64? {
        guard text != "0" else { return 0 }
        let digits = text.prefix { ("0"..."9").contains($0) }
        let unit = text.dropFirst(digits.count)
        guard let count = UInt64(digits), let factor = SizeUnit.named(unit)?.bytes else {
            return nil
        }
        let (bytes, overflow) = count.multipliedReportingOverflow(by: factor)
        return overflow ? nil : bytes
    }

    private static func write(_ bytes: UInt64) -> String {
        guard let unit = SizeUnit.dividing(bytes) else { return "\(bytes)" }
        return "\(bytes / unit.bytes)\(unit.name)"
    }
}

extension ValueForm where Value == Duration {
    /// A time up to a year.
    static var time: ValueForm {
        time(upTo: .seconds(365 * 24 * 3600), wanted: "a time such as 500ms, 45s, 10m or 2h, at most a year")
    }

    /// A time: a whole number and its unit.
    static func time(upTo longest: Duration, wanted: String) -> ValueForm {
        ValueForm(
            placeholder: "TIME", wanted: wanted, fileType: .string,
            read: { text throws(Unfit) in
                guard let time = Duration(text: text), time <= longest else { throw Unfit(text: text) }
                return time
            }, write: { write($0.wholeNanoseconds) })
    }

    private static func write(_ nanoseconds: UInt64) -> String {
        let units = ["h", "m", "s", "ms", "us"]
        let fitting = units.first { nanoseconds.isMultiple(of: Duration.nanosecondsPerUnit[$0] ?? 1) }
        guard nanoseconds > 0, let unit = fitting, let factor = Duration.nanosecondsPerUnit[unit] else {
            return nanoseconds == 0 ? "0s" : "\(nanoseconds)ns"
        }
        return "\(nanoseconds / factor)\(unit)"
    }
}

extension ValueForm where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
    /// One of a few words.
    static var word: ValueForm {
        let words = Value.allCases.map(\.rawValue)
        return ValueForm(
            placeholder: words.joined(separator: "|"),
            wanted: words.dropLast().joined(separator: ", ") + " or " + (words.last ?? ""), fileType: .string,
            read: { text throws(Unfit) in
                guard let value = Value(rawValue: text) else { throw Unfit(text: text) }
                return value
            }, write: { $0.rawValue })
    }
}

extension ValueForm where Value == String {
    /// A path.
    static var path: ValueForm {
        ValueForm(
            placeholder: "PATH", wanted: "a path", fileType: .string,
            read: { text throws(Unfit) in
                guard !text.isEmpty, !text.unicodeScalars.contains("\u{0}") else { throw Unfit(text: text) }
                return text
            }, write: { $0 })
    }
}

extension ValueForm where Value == [UInt32] {
    /// Users, each by name or number. No number is all ones: that is nobody's.
    static var users: ValueForm {
        ValueForm(
            placeholder: "USER,...", wanted: "names of users of this machine, or their numbers", fileType: .array,
            read: { text throws(Unfit) in
                guard !text.isEmpty else { return [] }
                var users: [UInt32] = []
                for part in text.split(separator: ",", omittingEmptySubsequences: false).map(String.init) {
                    guard let user = UInt32(part) ?? UserAccount.number(of: part), user < .max else {
                        throw Unfit(text: part)
                    }
                    users.append(user)
                }
                return users
            }, write: { $0.map { String($0) }.joined(separator: ",") })
    }
}
