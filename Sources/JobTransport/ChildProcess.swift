// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CLinux
internal import Dispatch
public import NIOCore

/// A program that carries this process's bytes somewhere, with a socket as its standard input and output; its standard error is
/// this process's own, or another socket. Ctrl-C does not reach it, and it never outlives this process.
public final class ChildProcess: Sendable {
    /// A pidfd, so that no other process is ever meant.
    private let descriptor: CInt
    private let end: EventLoopFuture<CInt>

    private init(descriptor: CInt, end: EventLoopFuture<CInt>) { (self.descriptor, self.end) = (descriptor, end) }

    deinit { clinux_close(descriptor) }

    /// Starts a program, which is looked for in `PATH` and gets its words as they are: there is no shell.
    ///
    /// - Parameters:
    ///   - words: the program's name and its arguments.
    ///   - stream: closed here when the program has it.
    ///   - errors: its standard error, likewise; nil is this process's own.
    /// - Throws: ``StartError``.
    public static func start(
        _ words: [String], stream: CInt, errors: CInt? = nil, on loop: any EventLoop
    ) async throws -> ChildProcess {
        let (started, ended) = (loop.makePromise(of: ChildProcess.self), loop.makePromise(of: CInt.self))
        // One thread as long as the program lives: with the thread that started it, it would end.
        DispatchQueue(label: "kvmjob.child").async {
            let descriptor = spawn(words, stream, errors)
            clinux_close(stream)
            if let errors { clinux_close(errors) }
            guard descriptor >= 0 else {
                let error = StartError(program: words.first ?? "", errno: -descriptor)
                ended.fail(error)
                return started.fail(error)
            }
            let child = ChildProcess(descriptor: descriptor, end: ended.futureResult)
            started.succeed(child)
            ended.succeed(withExtendedLifetime(child) { clinux_wait_child(descriptor) })
        }
        return try await started.futureResult.get()
    }

    /// Why a program could not be started.
    public struct StartError: Error, Sendable, Hashable {
        /// Its name.
        public let program: String
        /// What the kernel said; ENOENT for one that is not there.
        public let errno: CInt
    }

    /// Waits for its end. The exit status, or 128 and the number of the signal that ended it.
    public func ended() async -> CInt {
        // Of a program that has started, the future does not fail.
        (try? await end.get()) ?? 0
    }

    /// Asks it to end: SIGTERM.
    public func terminate() { clinux_terminate_child(descriptor) }

    private static func spawn(_ words: [String], _ stream: CInt, _ errors: CInt?) -> CInt {
        let strings = words.flatMap { word -> [CChar] in word.utf8.map { CChar(bitPattern: $0) } + [0] }
        // SAFETY: as many strings as words, each with its zero, lent for the call; a word with a zero in it is two, and the last
        // ones are left out.
        return unsafe clinux_start_child(strings, CInt(words.count), stream, errors ?? -1)
    }
}
