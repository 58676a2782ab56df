// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import GuestImage
internal import JobModel

/// `kvmjob inspect`: says what an image is and how it would start, without a worker.
struct InspectCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Tell what an image is, where it goes and how it starts.",
        discussion: """
            Nothing is run. What is told is what kvmjob submit would make of the image with the same options: its format, the first \
            instruction and registers, how much memory it takes, and what lies where in guest memory when it starts.

            Exit status: 0 if the image can be started; 126 if it cannot be read, or something in it is wrong, which is told with \
            the field and its value.

            Example: kvmjob inspect kernel.elf --append "console=com1" --module disk.img
            """)

    @Argument(help: ArgumentHelp("An image file; - is standard input.", valueName: "image"), completion: .file())
    var image: String

    @OptionGroup var options: ImageOptions

    @Option(
        help: ArgumentHelp(
            "Guest memory, 1MiB to 1GiB, or in bytes; by default what the image needs.", valueName: "size"),
        transform: SizeText.parse)
    var memory: UInt64?

    @Flag(help: "One JSON object on standard output.")
    var json = false

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let inspection = try await inspect()
            let bytes = json ? inspection.json.bytes + [UInt8(ascii: "\n")] : Array(inspection.text.utf8)
            try await console.output.write(bytes)
            return inspection.status
        }
    }

    private func inspect() async throws -> ImageInspection {
        do {
            let bytes = try await ImageSource(argument: image).load(limit: ImageSource.byteLimit)
            return ImageInspection(name: image, bytes: bytes, start: try await loadedStart)
        } catch let rejection as Rejection {
            throw CommandFailure(message: rejection.message, status: ExitStatus.cannotRun)
        }
    }

    private var loadedStart: LoadedStart {
        get async throws {
            var start = ImageStart(options)
            start.memoryBytes = memory
            return try await LoadedStart(start, limit: ImageSource.byteLimit)
        }
    }
}

/// What is told of an image.
struct ImageInspection: Sendable {
    let name: String
    let bytes: [UInt8]
    let plan: Result<LaunchPlan, LaunchError>

    init(name: String, bytes: [UInt8], plan: Result<LaunchPlan, LaunchError>) {
        (self.name, self.bytes, self.plan) = (name, bytes, plan)
    }

    init(name: String, bytes: [UInt8], start: LoadedStart) {
        (self.name, self.bytes) = (name, bytes)
        plan = Result { () throws(LaunchError) in try start.plan(bytes) }
    }

    var status: Int32 {
        switch plan {
        case .success: 0
        case .failure: ExitStatus.cannotRun
        }
    }

    /// Lines for people, each with a newline.
    var text: String {
        let lines =
            switch plan {
            case .success(let plan): LaunchText(plan: plan, name: name, byteCount: UInt64(bytes.count)).lines
            case .failure(let error): LaunchText.lines(error, name: name)
            }
        return lines.map { $0 + "\n" }.joined()
    }

    /// One object: `image` and `bytes`; then the keys of ``LaunchJSON``, or `error`.
    var json: JSONValue {
        let head: [(key: String, value: JSONValue)] = [("image", .string(name)), ("bytes", .count(bytes.count))]
        return switch plan {
        case .success(let plan): .object(head + LaunchJSON(plan: plan).members)
        case .failure(let error): .object(head + [("error", LaunchJSON.value(error))])
        }
    }
}
