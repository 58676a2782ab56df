// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// What a worker offers on a connection: it fills the worker's HELLO, and the session holds clients to it.
public struct WorkerTerms: Sendable {
    /// A worker's usual largest payload: 128 KiB, in which every SUBMIT has room, a program's strings at their most included.
    public static let defaultFrameLimit: UInt32 = 131_072
    /// A worker's usual first credit for a job's input: 64 KiB.
    public static let defaultInputWindow: UInt32 = 65_536
    /// The usual most jobs in flight on a connection.
    public static let defaultJobLimit: UInt32 = 256
    /// The usual most bytes of an image: 64 MiB.
    public static let defaultImageLimit: UInt64 = 64 << 20
    /// The usual least guest memory: 1 MiB.
    public static let defaultMemoryMinimum: UInt64 = 1 << 20
    /// The usual most guest memory: 1 GiB.
    public static let defaultMemoryMaximum: UInt64 = 1 << 30
    /// The usual largest wall-time budget: 1 hour.
    public static let defaultWallMaximum = Duration.seconds(3600)

    /// The largest payload that the worker takes, 4096 to 1,048,576.
    public var frameLimit: UInt32
    /// First credit in bytes for the input of each job.
    public var inputWindow: UInt32
    /// The most jobs in flight on the connection, from SUBMIT to RESULT or refusal.
    public var jobLimit: UInt32
    /// The most bytes of an image.
    public var imageLimit: UInt64
    /// The least guest memory in bytes.
    public var memoryMinimum: UInt64
    /// The most guest memory in bytes.
    public var memoryMaximum: UInt64
    /// The largest wall-time budget.
    public var wallMaximum: Duration
    /// Jobs that run at once.
    public var slots: UInt32
    /// The modes that the worker runs, and how it counts steps in each.
    public var modes: [(GuestMode, ModeMeter)]
    /// Name and version of the program, for people.
    public var software: String

    /// Terms with the usual limits.
    public init(
        frameLimit: UInt32 = WorkerTerms.defaultFrameLimit, inputWindow: UInt32 = WorkerTerms.defaultInputWindow,
        jobLimit: UInt32 = WorkerTerms.defaultJobLimit, imageLimit: UInt64 = WorkerTerms.defaultImageLimit,
        memoryMinimum: UInt64 = WorkerTerms.defaultMemoryMinimum,
        memoryMaximum: UInt64 = WorkerTerms.defaultMemoryMaximum,
        wallMaximum: Duration = WorkerTerms.defaultWallMaximum, slots: UInt32, modes: [(GuestMode, ModeMeter)],
        software: String
    ) {
        self.frameLimit = frameLimit
        self.inputWindow = inputWindow
        self.jobLimit = jobLimit
        self.imageLimit = imageLimit
        self.memoryMinimum = memoryMinimum
        self.memoryMaximum = memoryMaximum
        self.wallMaximum = wallMaximum
        self.slots = slots
        self.modes = modes
        self.software = software
    }

    /// What a worker's HELLO said. A limit that it left out is no limit; modes that are not known here are left out.
    init(_ hello: Hello) {
        self.init(
            frameLimit: hello.frameLimit, inputWindow: hello.window, jobLimit: hello.jobLimit ?? .max,
            imageLimit: hello.imageLimit ?? .max, memoryMinimum: hello.memoryMinimum ?? 0,
            memoryMaximum: hello.memoryMaximum ?? .max,
            wallMaximum: Duration(wholeNanoseconds: hello.wallMaximum ?? .max), slots: hello.slots ?? 0,
            modes: (hello.modes ?? []).compactMap { offer in GuestMode(rawValue: offer.mode).map { ($0, offer.meter) }
            },
            software: hello.software ?? "")
    }

    /// The HELLO that says this.
    var hello: Hello {
        var hello = Hello(frameLimit: frameLimit, window: inputWindow, software: software)
        hello.jobLimit = jobLimit
        hello.imageLimit = imageLimit
        hello.memoryMinimum = memoryMinimum
        hello.memoryMaximum = memoryMaximum
        hello.wallMaximum = wallMaximum.wholeNanoseconds
        hello.slots = slots
        hello.modes = modes.map { Hello.ModeOffer(mode: $0.0.rawValue, meter: $0.1) }
        return hello
    }

    /// What the session itself can see wrong with a submission, lowest code first.
    ///
    /// Layout, mode and queue are the worker's to judge: it has the machine.
    func refusal(of submit: Submit) -> Refusal? {
        if let refusal = submit.snapshotRefusal ?? submit.programRefusal ?? submit.detachRefusal { return refusal }
        if submit.from != nil { return budgetRefusal(of: submit) }
        if submit.imageBytes > imageLimit {
            return Refusal(
                .imageTooLarge, "an image of \(submit.imageBytes) bytes is above the limit of \(imageLimit)",
                limit: imageLimit, value: submit.imageBytes)
        }
        if submit.imageBytes == 0 { return Refusal(.imageEmpty, "an image needs at least one byte") }
        return memoryRefusal(submit.memoryBytes ?? submit.defaultMemoryBytes)
            ?? budgetRefusal(of: submit)
            ?? modeRefusal(submit.mode)
    }

    private func memoryRefusal(_ bytes: UInt64) -> Refusal? {
        let page: UInt64 = 4096
        if bytes < memoryMinimum || bytes > memoryMaximum {
            return Refusal(
                .memorySize, "guest memory of \(bytes) bytes is outside \(memoryMinimum) to \(memoryMaximum)",
                limit: bytes < memoryMinimum ? memoryMinimum : memoryMaximum, value: bytes)
        }
        if !bytes.isMultiple(of: page) {
            return Refusal(
                .memorySize, "guest memory of \(bytes) bytes is not a multiple of \(page)", limit: page, value: bytes)
        }
        return nil
    }

    private func budgetRefusal(of submit: Submit) -> Refusal? {
        if let problem = submit.emptyBudget {
            return Refusal(.budgetRange, problem, limit: 1, value: 0)
        }
        let (wall, most) = (submit.wallBudget ?? Budget.defaultWallTime.wholeNanoseconds, wallMaximum.wholeNanoseconds)
        guard wall > most else { return nil }
        return Refusal(
            .budgetRange, "a wall-time budget of \(wall) ns is above the limit of \(most) ns", limit: most, value: wall)
    }

    private func modeRefusal(_ mode: UInt8) -> Refusal? {
        guard let known = GuestMode(rawValue: mode) else {
            return Refusal(.modeUnavailable, "mode \(mode) is not known here", value: UInt64(mode))
        }
        // A program's files are many bytes, which need not come for this to be told.
        guard known == .linux, !modes.contains(where: { $0.0 == .linux }) else { return nil }
        return Refusal(.modeUnavailable, "this worker does not run Linux programs", value: UInt64(mode))
    }
}

extension Submit {
    fileprivate var defaultMemoryBytes: UInt64 {
        GuestMode(rawValue: mode)?.defaultMemoryBytes ?? JobSpec.defaultMemoryBytes
    }

    /// What is wrong with a budget that leaves nothing to use.
    fileprivate var emptyBudget: String? {
        if stepBudget == 0 { return "a step budget is at least 1" }
        if wallBudget == 0 { return "a wall-time budget is at least 1 ns" }
        if cpuBudget == 0 { return "a CPU-time budget is at least 1 ns" }
        if exitBudget == 0 { return "an exit budget is at least 1" }
        if outputBudget == 0 { return "an output budget is at least 1 byte" }
        if memoryBudget == 0 { return "a memory budget is at least 1 byte" }
        return waitBudget == 0 ? "a wait budget is at least 1 ns" : nil
    }
}
