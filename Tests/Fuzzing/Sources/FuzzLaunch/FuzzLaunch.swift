// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CFuzzer
import GuestImage
import JobModel

/// Makes launch plans of whatever the fuzzer comes up with, and looks at each plan that there is.
@main
struct FuzzLaunch {
    static func main() {
        var count = CommandLine.argc
        var arguments = UnsafeMutableRawPointer(CommandLine.unsafeArgv)
            .assumingMemoryBound(to: UnsafeMutablePointer<CChar>.self)
        _ = LLVMFuzzerRunDriver(&count, &arguments) { bytes, count in
            FuzzLaunch.one(Array(UnsafeBufferPointer(start: bytes, count: Int(count))))
            return 0
        }
    }

    /// An input: eight bytes of options, then the image.
    static func one(_ input: [UInt8]) {
        guard input.count >= FuzzedOptions.byteCount else { return }
        let fuzzed = FuzzedOptions(input)
        do throws(LaunchError) {
            let plan = try LaunchPlan(fuzzed.image, fuzzed.options)
            PlanCheck(plan: plan, image: fuzzed.image, options: fuzzed.options).check()
        } catch {
            precondition(!error.field.isEmpty && !error.message.isEmpty, "an error without a field")
        }
    }
}

/// What the first bytes of an input stand for.
struct FuzzedOptions {
    static let byteCount = 8
    private static let memories: [UInt64?] = [nil, 1 << 20, 2 << 20, 16 << 20, 1 << 30, 4096, .max]

    let options: LaunchOptions
    let image: [UInt8]

    /// - Parameter input: at least ``byteCount`` bytes.
    init(_ input: [UInt8]) {
        let formats = ImageFormat.allCases
        var options = LaunchOptions()
        let format = Int(input[0]) % (formats.count + 1)
        options.format = format == 0 ? nil : formats[format - 1]
        options.memoryBytes = Self.memories[Int(input[1]) % Self.memories.count]
        if input[2] > 0 { options.commandLine = [UInt8](repeating: 0x41, count: Int(input[2]) * 8) }
        options.modules = (0..<Int(input[3] % 80)).map { _ in
            LaunchOptions.Module(text: [0x6D], bytes: [UInt8](repeating: 0x55, count: Int(input[4]) * 64))
        }
        let rest = input.dropFirst(Self.byteCount)
        // A ROM is longer than what a fuzzer turns over fast; its interesting end is what comes last.
        let padding = input[5] & 1 == 0 ? 0 : max(0, 0x1_0000 - rest.count)
        image = [UInt8](repeating: 0, count: padding) + rest
        self.options = options
    }
}
