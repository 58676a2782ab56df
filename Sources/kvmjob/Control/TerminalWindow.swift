// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CLinux
internal import Dispatch
internal import Glibc

/// A terminal's size in characters.
struct TerminalWindow: Sendable, Hashable {
    var rows: Int
    var columns: Int

    /// What standard output is shown in; nil if that is no terminal. One that does not know its size counts as 24 by 80.
    static var standardOutput: TerminalWindow? { of(STDOUT_FILENO) }

    /// The same of standard error.
    static var standardError: TerminalWindow? { of(STDERR_FILENO) }

    private static func of(_ descriptor: CInt) -> TerminalWindow? {
        guard isatty(descriptor) == 1 else { return nil }
        let size = clinux_window_size(descriptor)
        guard size.error == 0, size.rows > 0, size.columns > 0 else { return TerminalWindow(rows: 24, columns: 80) }
        return TerminalWindow(rows: Int(size.rows), columns: Int(size.columns))
    }
}

/// A terminal for a picture that changes, until this is dropped or the process exits: a screen of its own, no cursor, each key at once.
final class LiveTerminal {
    private static let enter = Array("\u{1B}[?1049h\u{1B}[?25l".utf8)
    private static let leave = Array("\u{1B}[?25h\u{1B}[?1049l".utf8)
    private static let top = "\u{1B}[H"
    private static let restOfLine = "\u{1B}[K"
    private static let restOfScreen = "\u{1B}[J"

    private let output: ByteSink
    private let resize: any DispatchSourceSignal

    /// - Parameter resized: called whenever the window has another size.
    init(_ output: ByteSink, resized: @escaping @Sendable () -> Void) async throws(OutputError) {
        self.output = output
        resize = DispatchSource.makeSignalSource(signal: SIGWINCH, queue: DispatchQueue(label: "kvmjob.window"))
        resize.setEventHandler(handler: resized)
        resize.activate()
        _ = clinux_watch_keys(STDIN_FILENO)
        try await write(Self.enter)
    }

    deinit { resize.cancel() }

    /// Shows these lines in place of those before, without a flicker.
    func show(_ lines: [String]) async throws(OutputError) {
        let picture = lines.map { $0 + Self.restOfLine }.joined(separator: "\r\n")
        try await write(Array((Self.top + picture + Self.restOfScreen).utf8))
    }

    /// Leaves the terminal as it was.
    func end() async {
        try? await write(Self.leave)
        clinux_restore_terminal()
    }

    private func write(_ bytes: [UInt8]) async throws(OutputError) {
        do { try await output.write(bytes) } catch { throw error as? OutputError ?? .closed }
    }
}
