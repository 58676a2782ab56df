// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import NIOConcurrencyHelpers

/// How far the reading of a guest's files has got.
final class ReadingProgress: Sendable {
    private let state = NIOLockedValueBox<(files: Int, directory: String)>((0, ""))

    /// Takes note of a directory and its entries.
    func enter(_ directory: String, entries: Int) {
        state.withLockedValue { $0 = ($0.files + entries, directory) }
    }

    /// For people, on one line: `reading files: 12345 so far, now in /usr/share/doc`; nil before anything was read.
    func line(width: Int) -> String? {
        let (files, directory) = state.withLockedValue(\.self)
        guard files > 0 else { return nil }
        let head = "kvmjob: reading files: \(files) so far, now in "
        return head + ShortText.plain(directory, width: max(0, width - head.count))
    }
}

/// Tells on a terminal which of a guest's files are being read, if that takes so long that somebody wonders.
struct ReadingNotice: Sendable {
    let progress: ReadingProgress
    let console: Console

    /// How long each line stays: 200 ms.
    private static let interval = Duration.milliseconds(200)

    /// Reads, and takes the notice away when that is done.
    func whileReading<Value: Sendable>(_ read: () async throws -> Value) async throws -> Value {
        guard console.isTerminal else { return try await read() }
        let (progress, console) = (progress, console)
        let width = (TerminalWindow.standardOutput?.columns ?? 80) - 1
        let notice = Task {
            try await Task.sleep(for: UploadNotice.patience)
            while true {
                if let line = progress.line(width: width) {
                    try await console.messages.write(UploadNotice.clearLine + Array(line.utf8))
                }
                try await Task.sleep(for: Self.interval)
            }
        }
        let value = await Result.catching(read)
        notice.cancel()
        // It ends by being cancelled, in whichever line; nothing is written behind that.
        _ = await notice.result
        if progress.line(width: width) != nil { try? await console.messages.write(UploadNotice.clearLine) }
        return try value.get()
    }
}
