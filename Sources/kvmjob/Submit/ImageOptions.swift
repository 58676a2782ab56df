// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import GuestImage

/// The options that say what an image is, and what a kernel is passed.
struct ImageOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "What the image is: flat, boot-sector, rom, elf, multiboot, pvh or linux. (default: what its bytes look like)",
            valueName: "format"),
        completion: .list(ImageFormat.allCases.map(\.rawValue)), transform: ImageFormat.init(argument:))
    var format: ImageFormat?

    @Option(help: ArgumentHelp("A kernel's command line.", valueName: "text"))
    var append: String?

    @Option(
        name: [.customLong("module"), .customLong("initrd")],
        help: ArgumentHelp(
            "A file that a kernel finds in memory (repeatable): a Multiboot or PVH module, Linux's initial RAM disk.",
            valueName: "file"),
        completion: .file())
    var module: [String] = []

    func validate() throws {
        guard module.count <= LaunchOptions.moduleLimit else {
            throw ValidationError("--module can be given \(LaunchOptions.moduleLimit) times.")
        }
    }

    /// The first of the options that is given.
    var firstGiven: String? {
        [(format != nil, "--format"), (append != nil, "--append"), (!module.isEmpty, "--module")].first { $0.0 }?.1
    }
}

extension ImageFormat {
    /// The format that an argument names.
    init(argument: String) throws(ValueError) {
        guard let format = Self(rawValue: argument) else {
            let names = Self.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValueError("\"\(argument)\" is no format of images: write one of \(names)")
        }
        self = format
    }
}
