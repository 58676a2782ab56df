// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc

@testable import KVM
@testable import LinuxPersonality

/// An argument of a call, for the kernel and for the personality alike.
enum Argument: Sendable {
    case number(Int)
    case text(String)
    case bytes([UInt8])
    /// A buffer to be filled, of this size.
    case room(Int)
}

/// What came of a call: what it returned (an error as its negated number), and the buffers that it filled.
struct CallResult: Equatable {
    var value: Int
    var rooms: [[UInt8]]
}

/// A process whose calls are made by hand.
struct Caller: ~Copyable {
    var process: LinuxProcess
    let memory: GuestMemory
    var waited: Wait?

    /// What is mapped of it, from the lowest address that can be.
    static let window: Range<UInt64> = 0x1_0000..<0x10_0000
    /// The last page, which cannot be written.
    static let readOnlyPage = window.upperBound - 4096

    init(_ layers: [FileTree] = [], limits: OverlayTree.Limits = OverlayTree.Limits()) throws {
        let memory = try GuestMemory(scratchBytes: 4 << 20)
        var process = LinuxProcess(space: AddressSpace(in: memory))
        let count = Self.window.upperBound - Self.window.lowerBound
        // Private, anonymous, at this address.
        _ = try process.mmap(.init(registers: [Self.window.lowerBound, count, 3, 0x32, .max, 0]), memory)
        _ = try process.mprotect(.init(registers: [Self.readOnlyPage, 4096, 1, 0, 0, 0]), memory)
        process.files = ProcessFiles(tree: OverlayTree(layers: layers, limits: limits))
        self.memory = memory
        self.process = process
    }

    /// Serves a call with arguments laid out in guest memory from 64 KiB on.
    mutating func call(_ call: SystemCall, _ arguments: Argument...) throws -> CallResult {
        try serve(call, arguments)
    }

    mutating func serve(_ call: SystemCall, _ arguments: [Argument]) throws -> CallResult {
        var (registers, next): ([UInt64], UInt64) = ([], 1 << 16)
        var rooms: [(UInt64, Int)] = []
        func place(_ bytes: [UInt8]) throws -> UInt64 {
            defer { next += (UInt64(bytes.count) + 63) / 64 * 64 }
            try process.space.write(bytes, at: next, memory)
            return next
        }
        for argument in arguments {
            switch argument {
            case .number(let number): registers.append(UInt64(bitPattern: Int64(number)))
            case .text(let text): registers.append(try place(Array(text.utf8) + [0]))
            case .bytes(let bytes): registers.append(try place(bytes))
            case .room(let count):
                rooms.append((next, count))
                registers.append(try place([UInt8](repeating: 0, count: count)))
            }
        }
        let value = try raw(call, registers)
        var filled: [[UInt8]] = []
        for (address, count) in rooms { filled.append(try bytes(at: address, count: count)) }
        return CallResult(value: value, rooms: filled)
    }

    /// What the program finds at an address.
    mutating func bytes(at address: UInt64, count: Int) throws -> [UInt8] {
        try process.space.read(address, count: count, memory)
    }

    /// Serves a call with registers as they are. A call that waits gives EINTR, and `waited` says for what.
    mutating func raw(_ call: SystemCall, _ registers: [UInt64]) throws -> Int {
        var all: [6 of UInt64] = .init(repeating: 0)
        for (index, register) in registers.prefix(6).enumerated() { all[index] = register }
        waited = nil
        do throws(Errno) {
            switch try process.serveFileCall(call, CallArguments(registers: all), memory) {
            case .value(let value): return Int(Int64(bitPattern: value))
            case .wait(let wait):
                waited = wait
                return -Int(EINTR)
            default: return Int.min
            }
        } catch {
            return -Int(error.rawValue)
        }
    }
}

extension LinuxProcess {
    static let fileCalls: [SystemCall] = [
        .open, .openat, .creat, .close, .closeRange, .read, .pread64, .readv, .preadv, .preadv2, .write, .pwrite64,
        .writev, .pwritev, .pwritev2, .stat, .lstat, .fstat, .newfstatat, .statx, .access, .faccessat, .faccessat2,
        .readlink, .readlinkat, .unlink, .rmdir, .unlinkat, .mkdir, .mkdirat, .rename, .renameat, .renameat2, .link,
        .linkat, .symlink, .symlinkat, .chdir, .fchdir, .getcwd, .umask, .chmod, .fchmodat, .fchmod, .getdents64, .dup,
        .dup2, .dup3, .fcntl, .lseek, .pipe, .pipe2, .truncate, .ftruncate, .fsync, .ioctl, .getrandom,
        .poll, .ppoll, .select, .pselect6, .eventfd, .eventfd2, .epollCreate, .epollCreate1, .epollCtl, .epollWait,
        .epollPwait, .epollPwait2, .chown, .lchown, .fchown, .fchownat, .utimensat, .statfs, .fstatfs, .flock,
        .fallocate, .memfdCreate, .sendfile, .copyFileRange, .socket, .connect,
    ]

    mutating func serveFileCall(
        _ call: SystemCall, _ a: CallArguments, _ m: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        switch call {
        case .open: try open(a, m)
        case .openat: try openat(a, m)
        case .creat: try creat(a, m)
        case .close: try close(a, m)
        case .closeRange: try closeRange(a, m)
        case .read: try read(a, m)
        case .pread64: try pread64(a, m)
        case .readv: try readv(a, m)
        case .preadv: try preadv(a, m)
        case .preadv2: try preadv2(a, m)
        case .write: try write(a, m)
        case .pwrite64: try pwrite64(a, m)
        case .writev: try writev(a, m)
        case .pwritev: try pwritev(a, m)
        case .pwritev2: try pwritev2(a, m)
        case .stat: try stat(a, m)
        case .lstat: try lstat(a, m)
        case .fstat: try fstat(a, m)
        case .newfstatat: try newfstatat(a, m)
        case .statx: try statx(a, m)
        case .access: try access(a, m)
        case .faccessat: try faccessat(a, m)
        case .faccessat2: try faccessat2(a, m)
        case .readlink: try readlink(a, m)
        case .readlinkat: try readlinkat(a, m)
        case .unlink: try unlink(a, m)
        case .rmdir: try rmdir(a, m)
        case .unlinkat: try unlinkat(a, m)
        case .mkdir: try mkdir(a, m)
        case .mkdirat: try mkdirat(a, m)
        case .rename: try rename(a, m)
        case .renameat: try renameat(a, m)
        case .renameat2: try renameat2(a, m)
        case .link: try link(a, m)
        case .linkat: try linkat(a, m)
        case .symlink: try symlink(a, m)
        case .symlinkat: try symlinkat(a, m)
        case .chdir: try chdir(a, m)
        case .fchdir: try fchdir(a, m)
        case .getcwd: try getcwd(a, m)
        case .umask: try umask(a, m)
        case .chmod: try chmod(a, m)
        case .fchmodat: try fchmodat(a, m)
        case .fchmod: try fchmod(a, m)
        case .getdents64: try getdents64(a, m)
        case .dup: try dup(a, m)
        case .dup2: try dup2(a, m)
        case .dup3: try dup3(a, m)
        case .fcntl: try fcntl(a, m)
        case .lseek: try lseek(a, m)
        case .pipe: try pipe(a, m)
        case .pipe2: try pipe2(a, m)
        case .truncate: try truncate(a, m)
        case .ftruncate: try ftruncate(a, m)
        case .fsync: try fsync(a, m)
        case .ioctl: try ioctl(a, m)
        case .getrandom: try getrandom(a, m)
        case .poll: try poll(a, m)
        case .ppoll: try ppoll(a, m)
        case .select: try select(a, m)
        case .pselect6: try pselect6(a, m)
        case .eventfd: try eventfd(a, m)
        case .eventfd2: try eventfd2(a, m)
        case .epollCreate: try epollCreate(a, m)
        case .epollCreate1: try epollCreate1(a, m)
        case .epollCtl: try epollCtl(a, m)
        case .epollWait: try epollWait(a, m)
        case .epollPwait: try epollPwait(a, m)
        case .epollPwait2: try epollPwait2(a, m)
        case .chown: try chown(a, m)
        case .lchown: try lchown(a, m)
        case .fchown: try fchown(a, m)
        case .fchownat: try fchownat(a, m)
        case .utimensat: try utimensat(a, m)
        case .statfs: try statfs(a, m)
        case .fstatfs: try fstatfs(a, m)
        case .flock: try flock(a, m)
        case .fallocate: try fallocate(a, m)
        case .memfdCreate: try memfdCreate(a, m)
        case .sendfile: try sendfile(a, m)
        case .copyFileRange: try copyFileRange(a, m)
        case .socket: try socket(a, m)
        case .connect: try onSocket(a, m)
        default: throw .enosys
        }
    }
}
