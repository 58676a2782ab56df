// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// What a user says of an image's start, beside the image.
public struct LaunchOptions: Sendable, Hashable {
    /// A file that is put into memory beside a kernel: a Multiboot or PVH module, an initial RAM disk.
    public struct Module: Sendable, Hashable {
        /// Its text, by which a kernel tells it from others: at most ``LaunchOptions/textLimit`` bytes, none of them 0.
        public var text: [UInt8]
        /// Its bytes.
        public var bytes: [UInt8]

        /// A module.
        public init(text: [UInt8], bytes: [UInt8]) { (self.text, self.bytes) = (text, bytes) }
    }

    /// What the image is taken as, or nil to recognise it by its bytes.
    public var format: ImageFormat?
    /// The text that a kernel is started with, none of whose bytes is 0; nil for none.
    public var commandLine: [UInt8]?
    /// What lies beside the kernel, in this order.
    public var modules: [Module]
    /// Bytes of guest memory, or nil for as much as the image needs and at least the format's usual size.
    public var memoryBytes: UInt64?
    /// Of an image without a header: the mode, or nil for `real16`.
    public var mode: GuestMode?
    /// Of an image without a header: where its first byte goes, or nil for the mode's place.
    public var loadAddress: UInt64?
    /// Of an image without a header: its first instruction, or nil for the load address.
    public var entryPoint: UInt64?

    /// The most modules: 64.
    public static let moduleLimit = 64
    /// The most bytes of a command line, or of a module's text: 64 KiB less one, which leaves room for the NUL.
    public static let textLimit = 65_535

    /// Options that say nothing but this.
    public init(
        format: ImageFormat? = nil, commandLine: [UInt8]? = nil, modules: [Module] = [], memoryBytes: UInt64? = nil
    ) {
        (self.format, self.commandLine, self.modules) = (format, commandLine, modules)
        self.memoryBytes = memoryBytes
    }

    /// What holds for every format.
    func check() throws(LaunchError) {
        let bounds = GuestLayout.minimumMemoryBytes...GuestLayout.maximumMemoryBytes
        if let bytes = memoryBytes, !bounds.contains(bytes) || bytes % GuestLayout.pageBytes != 0 {
            throw LaunchError(.option, "--memory", bytes, "it must be whole pages of 4 KiB, from 1 MiB to 1 GiB")
        }
        guard modules.count <= Self.moduleLimit else {
            throw LaunchError(
                .tooMany, "--module", UInt64(modules.count), "there can be \(Self.moduleLimit) modules")
        }
        try Self.check(commandLine ?? [], named: "--append")
        for module in modules { try Self.check(module.text, named: "--module") }
    }

    private static func check(_ text: [UInt8], named option: String) throws(LaunchError) {
        guard text.count <= textLimit else {
            throw LaunchError(.option, option, UInt64(text.count), "a text has at most \(textLimit) bytes")
        }
        guard !text.contains(0) else {
            throw LaunchError(.option, option, 0, "a text ends at the first byte that is 0, so none may be in it")
        }
    }

    /// For formats that can be told nothing.
    func checkNothingIsPassed(to format: ImageFormat) throws(LaunchError) {
        if commandLine != nil {
            throw LaunchError(.option, "--append", nil, "\(format.description) is passed no command line: leave it out")
        }
        guard modules.isEmpty else {
            throw LaunchError(.option, "--module", nil, "\(format.description) is passed no modules: leave them out")
        }
    }

    /// For formats whose headers say how they start.
    func checkStartIsNotNamed(for format: ImageFormat) throws(LaunchError) {
        let named: [(Bool, String)] = [
            (mode != nil, "--mode"), (loadAddress != nil, "--load"), (entryPoint != nil, "--entry"),
        ]
        guard let (_, option) = named.first(where: \.0) else { return }
        throw LaunchError(
            .option, option, nil,
            "\(format.description) says by itself where it goes and how it starts: leave this out, or take it as it is with --format flat"
        )
    }
}
