// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// One option that takes a value: on the command line with its dashes, in the settings file without.
///
/// The command line, the settings file, `--help`, the file that is installed and the manual page are all made from
/// ``OptionRule/sections``.
struct OptionRule: Sendable {
    /// Without dashes; the key in the settings file.
    var key: String
    /// What it does, as part of a sentence.
    var help: String
    /// What holds where nothing sets it, in words.
    var usual: String
    /// A value for the settings file that is installed, where it is commented out.
    var example: String
    /// What stands for the value in the help text.
    var placeholder: String
    /// What a right value looks like, to end a sentence with.
    var wanted: String
    /// What its value is in the settings file.
    var fileType: FileType
    /// Reads the value that a text writes; what comes back puts it into its place.
    var read: @Sendable (String) throws(Unfit) -> Assignment
    /// The text that would put there what is there, or nil where nothing is.
    var show: @Sendable (Options) -> String?

    /// Puts a value into its place.
    typealias Assignment = @Sendable (inout Options) -> Void
    /// Where a value is kept.
    typealias Place<Value> = any WritableKeyPath<Options, Value> & Sendable

    /// With its dashes.
    var name: String { "--" + key }

    /// An option with a default, which is the example too.
    init<Value>(
        _ key: String, _ form: ValueForm<Value>, _ place: Place<Value>, _ help: String,
        usual: String? = nil
    ) {
        let standard = form.write(Options()[keyPath: place])
        self.init(key, form, help, usual: usual ?? standard, example: standard)
        read = { text throws(Unfit) in
            let value = try form.read(text)
            return { $0[keyPath: place] = value }
        }
        show = { form.write($0[keyPath: place]) }
    }

    /// An option that is not set unless somebody sets it.
    init<Value>(
        _ key: String, _ form: ValueForm<Value>, _ place: Place<Value?>, _ help: String,
        usual: String, example: String
    ) {
        self.init(key, form, help, usual: usual, example: example)
        read = { text throws(Unfit) in
            let value = try form.read(text)
            return { $0[keyPath: place] = value }
        }
        show = { $0[keyPath: place].map(form.write) }
    }

    private init<Value>(_ key: String, _ form: ValueForm<Value>, _ help: String, usual: String, example: String) {
        (self.key, self.help, self.usual, self.example) = (key, help, usual, example)
        (placeholder, wanted, fileType) = (form.placeholder, form.wanted, form.fileType)
        read = { text throws(Unfit) in throw Unfit(text: text) }
        show = { _ in nil }
    }
}

/// An option without a value, or that is none of the worker's settings.
struct Switch: Sendable {
    /// As it is written, with what stands for a value.
    var usage: String
    /// What it does, as part of a sentence.
    var help: String

    static let all = [
        Switch(
            usage: "--config PATH",
            help: "read settings from PATH, which must be there; options on the command line win "
                + "(default: \(SettingsFile.usualPath), if it is there)"),
        Switch(
            usage: "--check-config", help: "print the settings in force and where each comes from, or what is wrong"),
        Switch(usage: "--print-default-config", help: "print a settings file with every key, commented out"),
        Switch(usage: "--version", help: "print name and version"),
        Switch(usage: "--help, -h", help: "print this text"),
    ]
}
