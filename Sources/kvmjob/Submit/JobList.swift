// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The jobs of one command: every image as often as asked for, in the order of the command line.
struct JobList: Sendable {
    /// The most repetitions of an image: one million.
    static let repeatLimit = 1_000_000
    /// The most bytes of a job's label on the wire: 128.
    static let labelLimit = 128

    /// The images, each with the stem of its jobs' names.
    let images: [(source: ImageSource, stem: String)]
    let repeats: Int

    /// Without files and snippets, one job without an image.
    init(files: [String], snippets: [String], repeats: Int) {
        let files = Self.named(files.map(ImageSource.init(argument:)))
        let snippets = snippets.enumerated().map { index, digits in
            (ImageSource.hex(digits), snippets.count == 1 ? "hex" : "hex-\(index + 1)")
        }
        images = files.isEmpty && snippets.isEmpty ? [(.none, "memory")] : files + snippets
        self.repeats = repeats
    }

    /// Jobs from a snapshot, named by its first digits.
    init(from snapshot: ContentDigest, repeats: Int) {
        let source = ImageSource.snapshot(snapshot)
        images = [(source, "snapshot-\(source.text.prefix(Self.shortDigits))")]
        self.repeats = repeats
    }

    /// As many digits of a snapshot's name as a person tells it from others by.
    private static let shortDigits = 8

    /// Each file by its name; one that is given again gets a number behind it, so that no two jobs share a name.
    private static func named(_ sources: [ImageSource]) -> [(ImageSource, String)] {
        var seen: [String: Int] = [:]
        return sources.map { source in
            let name = source == .standardInput ? "stdin" : source.text
            let count = seen[name, default: 0] + 1
            seen[name] = count
            return (source, count == 1 ? name : "\(name)~\(count)")
        }
    }

    var isSingle: Bool { images.count == 1 && repeats == 1 }

    /// The name of one of an image's jobs, the first one being 1: `boot.bin`, or `boot.bin#3` where there are several.
    static func name(stem: String, repetition: Int, of repeats: Int) -> String {
        repeats == 1 ? stem : "\(stem)#\(repetition)"
    }

    /// As much of a name as fits in a label, its end kept: there the number is, and the file's own name.
    static func label(_ name: String) -> String {
        var label = name[...]
        while label.utf8.count > labelLimit { label = label.dropFirst() }
        return String(label)
    }
}
