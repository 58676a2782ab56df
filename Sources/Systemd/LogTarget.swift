// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Glibc

/// Where the log goes, as people choose it.
public enum LogTarget: String, Sendable, Hashable, CaseIterable {
    /// The journal if the standard error output is connected to it, else the standard error output.
    case auto
    /// The journal.
    case journal
    /// The standard error output.
    case stderr

    /// The destination for this choice, as things are now.
    public func destination() -> any LogDestination {
        switch self {
        case .journal: JournalDestination()
        case .stderr: StreamDestination(descriptor: STDERR_FILENO)
        case .auto: Self.journalIsListening ? JournalDestination() : StreamDestination(descriptor: STDERR_FILENO)
        }
    }

    /// systemd connected this process's standard error output to the journal, and journald's socket can be reached.
    /// If either fails, lines on the standard error output are what still reaches somebody.
    private static var journalIsListening: Bool {
        // SAFETY: `getenv` returns a zero-terminated string or nil; it is copied at once. Nothing here changes the
        // environment once threads run.
        guard let value = unsafe getenv("JOURNAL_STREAM").map({ unsafe String(cString: $0) }) else { return false }
        // SAFETY: the path is a zero-terminated copy, valid during the call.
        let socketIsThere = unsafe access(JournalDestination.socketPath, W_OK) == 0
        return socketIsThere && names(value, STDERR_FILENO)
    }

    /// Whether `stream`, "DEVICE:INODE" as in `JOURNAL_STREAM`, is what the descriptor refers to. A program that
    /// redirects a service's output leaves the variable behind, so it alone says nothing.
    static func names(_ stream: String, _ descriptor: CInt) -> Bool {
        var status = stat()
        // SAFETY: the kernel fills one `stat`.
        guard unsafe fstat(descriptor, &status) == 0 else { return false }
        return stream == "\(status.st_dev):\(status.st_ino)"
    }
}
