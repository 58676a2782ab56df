// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CSQLite
internal import Glibc

/// An open database of SQLite.
///
/// It belongs to one thread at a time. Every call blocks that thread for as long as the file system takes.
@safe public final class Database {
    /// Where its file is.
    public let path: String

    // SAFETY: `sqlite3_open_v2` made it and `deinit` lets go of it; no copy leaves this target.
    let handle: OpaquePointer
    private var prepared: [String: Statement] = [:]

    /// Opens the database in this file, which is made where it is missing, to be read and written by its owner alone.
    ///
    /// SQLite opens the file here, but does not look into it: what is wrong with it shows at the first statement.
    public init(path: String) throws(SQLiteError) {
        guard Self.asksByDescriptor else { throw SQLiteError(code: SQLITE_MISUSE, text: "SQLite without its unix VFS") }
        try Self.create(path)
        var opened: OpaquePointer?
        // SAFETY: the path is lent for the call, which stores one pointer; it does so even where it fails, and then that is closed.
        let code = unsafe sqlite3_open_v2(path, &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nil)
        guard let handle = unsafe opened else { throw SQLiteError(code: SQLITE_NOMEM, text: "out of memory") }
        guard code == SQLITE_OK else {
            defer { unsafe sqlite3_close_v2(handle) }
            throw unsafe Self.error(of: handle)
        }
        self.path = path
        unsafe self.handle = handle
        // SAFETY: the handle is open.
        unsafe sqlite3_extended_result_codes(handle, 1)
    }

    // SAFETY: the statements go after this; SQLite keeps what they need until the last of them is gone.
    deinit { unsafe sqlite3_close_v2(handle) }

    /// Whether SQLite asks for a file's size so that a filter of system calls can tell it from looking at a path. Once per process.
    private static let asksByDescriptor = csqlite_use_fstat() == SQLITE_OK

    /// Makes the file before SQLite does, which would let others read it. One that is there is left alone: to close a descriptor of it
    /// is to give up the locks that this process has on it by another one.
    private static func create(_ path: String) throws(SQLiteError) {
        // SAFETY: the path is lent for the call.
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 || errno == EEXIST else {
            // SAFETY: `strerror` returns a string that lives until this thread calls it again; it is copied at once.
            throw SQLiteError(code: SQLITE_CANTOPEN, text: unsafe String(cString: strerror(errno)))
        }
        if descriptor >= 0 { _ = close(descriptor) }
    }

    /// Carries out statements that have no parameters and whose rows nobody wants.
    public func run(_ statements: String) throws(SQLiteError) {
        // SAFETY: the text is lent for the call; nothing calls back.
        try check(unsafe sqlite3_exec(handle, statements, nil, nil, nil))
    }

    /// Carries out one statement whose rows nobody wants.
    public func run(_ text: String, _ values: Value...) throws(SQLiteError) {
        try statement(text).run(values) { (_) throws(SQLiteError) in true }
    }

    /// The first row of a query, nil where it has none.
    public func first<Result>(
        _ text: String, _ values: Value..., read: (borrowing Row) throws(SQLiteError) -> Result
    ) throws(SQLiteError) -> Result? {
        var first: Result?
        try statement(text).run(values) { (row) throws(SQLiteError) in
            first = try read(row)
            return false
        }
        return first
    }

    /// All rows of a query.
    public func all<Result>(
        _ text: String, _ values: Value..., read: (borrowing Row) throws(SQLiteError) -> Result
    ) throws(SQLiteError) -> [Result] {
        var results: [Result] = []
        try statement(text).run(values) { (row) throws(SQLiteError) in
            results.append(try read(row))
            return true
        }
        return results
    }

    /// One row of a query after the other, for as long as the answer is true. The same query cannot begin in between.
    public func each(
        _ text: String, _ values: Value..., read: (borrowing Row) throws(SQLiteError) -> Bool
    ) throws(SQLiteError) {
        try statement(text).run(values, read)
    }

    /// The statement of this text, compiled when it is asked for the first time.
    private func statement(_ text: String) throws(SQLiteError) -> Statement {
        if let statement = prepared[text] { return statement }
        let statement = try Statement(text, in: self)
        prepared[text] = statement
        return statement
    }

    /// Whether a transaction is open: SQLite may end one itself when a statement fails.
    public var isInTransaction: Bool {
        // SAFETY: the handle is open.
        unsafe sqlite3_get_autocommit(handle) == 0
    }

    /// Leaves the write-ahead log as it is when the database is closed: the next who opens it reads it. Without this, closing
    /// writes everything into the database and deletes the log.
    public func leaveLogWhenClosing() throws(SQLiteError) {
        // SAFETY: the handle is open.
        try check(unsafe csqlite_switch(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1))
    }

    /// Makes SQLite distrust the file: no SQL writes its schema or its pages by themselves, and its schema calls no functions that
    /// have effects.
    public func distrustFile() throws(SQLiteError) {
        // SAFETY: the handle is open.
        try check(unsafe csqlite_switch(handle, SQLITE_DBCONFIG_DEFENSIVE, 1))
        try check(unsafe csqlite_switch(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0))
    }

    /// Throws for every result but success, with the words of the last call.
    private func check(_ code: Int32) throws(SQLiteError) {
        guard code != SQLITE_OK else { return }
        throw unsafe Self.error(of: handle)
    }

    static func error(of handle: OpaquePointer) -> SQLiteError {
        // SAFETY: the handle is open, and its text is copied before the next call.
        unsafe SQLiteError(code: sqlite3_extended_errcode(handle), text: String(cString: sqlite3_errmsg(handle)))
    }
}
