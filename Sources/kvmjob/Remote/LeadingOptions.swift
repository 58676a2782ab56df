// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The options that say which worker is meant may stand before the subcommand too: `kvmjob --host ssh://machine submit boot.bin`.
enum LeadingOptions {
    private static let flags = ["--embedded"]
    private static let options = ["--host", "--socket"]

    /// The command line with such options behind the subcommand's name, where the parser expects them. One without a subcommand stays
    /// as it is.
    ///
    /// - Parameter words: without the name of this command itself.
    static func moved(_ words: [String]) -> [String] {
        var count = 0
        while count < words.count {
            let word = words[count]
            if flags.contains(word) || options.contains(where: { word.hasPrefix("\($0)=") }) {
                count += 1
            } else if options.contains(word) {
                count += 2
            } else {
                break
            }
        }
        guard count > 0, count < words.count, !words[count].hasPrefix("-") else { return words }
        return [words[count]] + words[..<count] + words[(count + 1)...]
    }
}
