// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CSQLite

/// What SQLite says when a call fails.
public struct SQLiteError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The extended result code, such as `SQLITE_IOERR_WRITE`.
    public var code: Int32
    /// SQLite's words for it.
    public var text: String

    /// An error of this code.
    public init(code: Int32, text: String) { (self.code, self.text) = (code, text) }

    /// "database or disk is full (SQLite error 13)".
    public var description: String { "\(text) (SQLite error \(code))" }

    private var primary: Int32 { code & 0xFF }

    /// Another connection has the file for itself.
    public var isBusy: Bool { primary == SQLITE_BUSY || primary == SQLITE_LOCKED }
    /// The file is no database, or its content contradicts itself.
    public var isDamage: Bool { primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB }
    /// There is no room for more, or the kernel failed to write: it may go better later.
    public var isLackOfRoom: Bool { primary == SQLITE_FULL || primary == SQLITE_IOERR }
}
