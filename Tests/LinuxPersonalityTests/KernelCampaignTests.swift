// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import Glibc
import SeededRandom
import Testing

@testable import LinuxPersonality

/// The same calls on the host's kernel, in a root of its own, and on the personality.
@Suite struct KernelCampaignTests {
    @Test(
        .enabled(if: geteuid() == 0, "only root may change its root directory"), .timeLimit(.minutes(2)),
        arguments: [UInt64(1), 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    func `random calls end as on the host's kernel`(seed: UInt64) async throws {
        let difference: String? = await withCheckedContinuation { done in
            let thread = Thread { done.resume(returning: FileCampaign(seed: seed).run(calls: 4000)) }
            thread.start()
        }
        #expect(difference == nil)
    }
}

/// Calls drawn from a seed.
struct FileCampaign {
    typealias RawCall = @convention(c) (Int, Int, Int, Int, Int, Int, Int) -> Int
    var numbers: SplitMix64
    let seed: UInt64

    init(seed: UInt64) { (self.seed, numbers) = (seed, SplitMix64(state: seed)) }

    /// The first difference, or nil. The thread has its own descriptors and its own root from then on; it is not used again.
    func run(calls: Int) -> String? {
        guard let symbol = dlsym(nil, "syscall") else { return "no syscall" }
        let kernel = unsafeBitCast(symbol, to: RawCall.self)
        let base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
        var template = Array("\(base)/kvmjob-files-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { return "mkdtemp: \(errno)" }
        let root = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { _ = try? FileManager.default.removeItem(atPath: root) }
        chmod(root, 0o755)
        chown(root, 1000, 1000)
        let box = CampaignThread(kernel: kernel, root: root, campaign: self, calls: calls)
        return box.run()
    }

    mutating func pick<T>(_ values: [T]) -> T { values[Int.random(in: values.indices, using: &numbers)] }

    mutating func path() -> String {
        let names = ["a", "b", "c", "d", "e", ".", "..", "a", "b", "c"]
        var path = pick(["", "", "/"])
        for index in 0..<pick([1, 1, 1, 2, 2, 3]) { path += (index == 0 ? "" : "/") + pick(names) }
        return path + pick(["", "", "", "", "", "/", "/.", "//"])
    }

    mutating func descriptor() -> Argument { .number(Int.random(in: -1...6, using: &numbers)) }

    mutating func next() -> (SystemCall, [Argument]) {
        let here = Argument.number(-100)
        let at = Int.random(in: 0..<5, using: &numbers) == 0 ? descriptor() : here
        let mode = Argument.number(pick([0o777, 0o777, 0o777, 0o700, 0o755, 0o777, 0o777, 0o777, 0o500]))
        let size = Argument.number(pick([0, 1, 10, 4096, 65535, 65536, 70000, 200_000, -1]))
        let text = [UInt8](
            repeating: UInt8.random(in: 1...255, using: &numbers), count: pick([0, 1, 5, 4096, 30000, 66000]))
        switch Int.random(in: 0..<36, using: &numbers) {
        case 0..<5:
            var flags = pick([0, 1, 2, 2, 2])
            for flag in [0o100, 0o100, 0o100, 0o100, 0o200, 0o1000, 0o2000, 0o200000, 0o400000, 0o10000000]
            where Int.random(in: 0..<6, using: &numbers) == 0 {
                flags |= flag
            }
            return (.openat, [at, .text(path()), .number(flags), mode])
        case 5..<8: return (.write, [descriptor(), .bytes(text), .number(text.count)])
        case 8: return (.pwrite64, [descriptor(), .bytes(text), .number(text.count), size])
        case 9..<11: return (.read, [descriptor(), .room(70000), .number(pick([0, 3, 5000, 70000]))])
        case 11: return (.pread64, [descriptor(), .room(70000), .number(pick([0, 3, 5000, 70000])), size])
        case 12: return (.lseek, [descriptor(), size, .number(pick([0, 1, 2, 0, 7]))])
        case 13..<16: return (.mkdirat, [at, .text(path()), mode])
        case 16..<18: return (.unlinkat, [at, .text(path()), .number(pick([0, 0, 0x200, 1]))])
        case 18..<21: return (.renameat2, [at, .text(path()), here, .text(path()), .number(pick([0, 0, 0, 1, 2, 3]))])
        case 21..<23: return (.symlinkat, [.text(path()), at, .text(path())])
        case 23: return (.linkat, [at, .text(path()), here, .text(path()), .number(pick([0, 0x400]))])
        case 24..<27: return (.newfstatat, [at, .text(path()), .room(144), .number(pick([0, 0x100]))])
        case 27: return (.fstat, [descriptor(), .room(144)])
        case 28: return (.readlinkat, [at, .text(path()), .room(100), .number(pick([100, 2, 0]))])
        case 29: return (.ftruncate, [descriptor(), size])
        case 30: return (.truncate, [.text(path()), size])
        case 31: return (.chdir, [.text(path())])
        case 32: return (.getcwd, [.room(200), .number(pick([200, 2, 0]))])
        case 33: return (.close, [descriptor()])
        case 34:
            return pick([(.dup, [descriptor()]), (.dup2, [descriptor(), descriptor()]), (.fchdir, [descriptor()])])
        default:
            return pick([
                (.fcntl, [descriptor(), .number(pick([1, 3])), .number(0)]), (.fchmodat, [at, .text(path()), mode]),
                (.faccessat2, [at, .text(path()), .number(pick([0, 1, 2, 4, 7])), .number(0x200)]),
                (.umask, [.number(pick([0, 0o22, 0o77]))]), (.fchmod, [descriptor(), mode]),
            ])
        }
    }
}

private struct CampaignThread {
    let kernel: FileCampaign.RawCall
    let root: String
    var campaign: FileCampaign
    let calls: Int

    func run() -> String? {
        // CLONE_FS | CLONE_FILES: this thread's root, working directory, umask and descriptors become its own.
        guard kernel(272, 0x600, 0, 0, 0, 0, 0) == 0 else { return "unshare: \(errno)" }
        _ = kernel(436, 0, Int(UInt32.max), 0, 0, 0, 0)
        let path = Array(root.utf8CString)
        let entered = path.withUnsafeBufferPointer { kernel(161, Int(bitPattern: $0.baseAddress), 0, 0, 0, 0, 0) }
        guard entered == 0,
            Array("/".utf8CString).withUnsafeBufferPointer({
                kernel(80, Int(bitPattern: $0.baseAddress), 0, 0, 0, 0, 0)
            }) == 0
        else { return "chroot: \(errno)" }
        _ = kernel(95, 0o22, 0, 0, 0, 0, 0)
        _ = kernel(123, 1000, 0, 0, 0, 0, 0)
        _ = kernel(122, 1000, 0, 0, 0, 0, 0)
        defer {
            _ = kernel(122, 0, 0, 0, 0, 0, 0)
        }
        return compare()
    }

    private func compare() -> String? {
        guard var caller = try? Caller() else { return "no memory" }
        var campaign = campaign
        for number in Int32(0)..<3 { _ = try? caller.process.files.close(number) }
        var history: [String] = []
        var succeeded = 0
        for index in 0..<calls {
            let (call, arguments) = campaign.next()
            let native = nativeCall(call, arguments)
            guard let guest = try? caller.serve(call, arguments) else { return "cannot serve" }
            if native.value >= 0 { succeeded += 1 }
            let brief = arguments.map { argument in
                if case .bytes(let bytes) = argument { return "bytes(\(bytes.count))" }
                return "\(argument)"
            }
            history.append("\(call)(\(brief.joined(separator: ", "))) = \(native.value)")
            if native.value != guest.value || comparable(call, native) != comparable(call, guest) {
                return "seed \(campaign.seed), call \(index): kernel \(native.value), personality \(guest.value)\n"
                    + history.suffix(25).joined(separator: "\n")
            }
        }
        // A campaign in which hardly anything works would prove little.
        return succeeded < calls / 8 ? "only \(succeeded) of \(calls) calls succeeded" : nil
    }

    private func nativeCall(_ call: SystemCall, _ arguments: [Argument]) -> CallResult {
        var buffers: [UnsafeMutableRawBufferPointer] = []
        defer { for buffer in buffers { buffer.deallocate() } }
        var rooms: [Int] = []
        let numbers = arguments.map { argument -> Int in
            let bytes: [UInt8]
            switch argument {
            case .number(let number): return number
            case .text(let text): bytes = Array(text.utf8) + [0]
            case .bytes(let given): bytes = given
            case .room(let count):
                rooms.append(buffers.count)
                bytes = [UInt8](repeating: 0, count: count)
            }
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, bytes.count), alignment: 16)
            buffer.copyBytes(from: bytes)
            buffers.append(buffer)
            return Int(bitPattern: buffer.baseAddress)
        }
        let all = numbers + [Int](repeating: 0, count: 6 - numbers.count)
        var value = kernel(Int(call.rawValue), all[0], all[1], all[2], all[3], all[4], all[5])
        if value == -1 { value = -Int(errno) }
        return CallResult(value: value, rooms: rooms.map { Array(buffers[$0]) })
    }

    /// What must be the same: of `struct stat` the mode, of files but directories the links, and of regular files the size.
    private func comparable(_ call: SystemCall, _ result: CallResult) -> [[UInt8]] {
        guard result.value >= 0 else { return [] }
        guard call == .newfstatat || call == .fstat, let stat = result.rooms.first else { return result.rooms }
        let isDirectory = stat[25] & 0xF0 == 0x40
        if isDirectory { return [Array(stat[24..<28])] }
        return [Array(stat[16..<36]), Array(stat[48..<56])]
    }
}
