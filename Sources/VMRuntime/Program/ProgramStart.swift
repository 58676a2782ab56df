// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
public import JobModel
internal import KVM
public import LinuxPersonality

/// What a Linux program is when its job starts, besides memory and the vCPU.
struct ProgramStart: Sendable {
    /// The process; each job has a copy.
    var process: LinuxProcess
    var clock: ProgramSpec.Clock
    /// What the random bytes of each job are made from; nil for other ones in each.
    var seed: UInt64?
}

extension StartingPoint {
    /// Brings a program into memory: what its jobs start from.
    ///
    /// - Parameters:
    ///   - layers: its files, a tree for each of the spec's layers.
    ///   - memoryBytes: bytes of guest memory.
    /// - Throws: for a program that cannot be started, and says what `execve` would.
    public convenience init(
        program spec: ProgramSpec, layers: [FileTree], memoryBytes: UInt64
    ) throws(Refusal) {
        let bounds = GuestLayout.minimumMemoryBytes...GuestLayout.maximumMemoryBytes
        guard bounds.contains(memoryBytes), memoryBytes % GuestMemory.pageBytes == 0 else {
            throw Refusal(
                .memorySize,
                "guest memory of \(memoryBytes) bytes: it must be whole pages, \(bounds.lowerBound) to \(bounds.upperBound) bytes",
                value: memoryBytes)
        }
        let memory: GuestMemory
        do throws(KVMError) { memory = try GuestMemory(scratchBytes: memoryBytes) } catch {
            throw Refusal(.queueFull, "the worker has no room to load the program: \(error.description)")
        }
        let program = Program(path: spec.path, arguments: spec.arguments, environment: spec.environment)
        do throws(ProgramError) {
            let started = try LinuxProcess.start(
                program, files: layers, scratchBytes: Int(clamping: spec.scratchBytes),
                seed: ProgramSeed.bytes(spec.seed), at: ProgramClock.start, in: memory)
            self.init(
                mode: .linux, processor: .new(started.registers, started.system, fixesCR4: false),
                memory: PristineMemory(of: memory), board: Board(),
                program: ProgramStart(process: started.process, clock: spec.clock, seed: spec.seed))
        } catch {
            throw Refusal(.programUnusable, "\(error.message)")
        }
    }
}

/// What a program's random bytes are made from.
enum ProgramSeed {
    /// 32 bytes: of the number, or else such as nobody can tell.
    static func bytes(_ seed: UInt64?) -> [UInt8] {
        guard let seed else {
            var generator = SystemRandomNumberGenerator()
            return (0..<4).flatMap { _ in bytes(of: generator.next()) }
        }
        return bytes(of: seed) + [UInt8](repeating: 0, count: 24)
    }

    private static func bytes(of word: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) }
    }
}
