// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CSQLite

/// What a parameter of a statement is set to.
public enum Value: Sendable, Hashable {
    /// An integer.
    case integer(Int64)
    /// Text; nil is no value.
    case text(String?)
    /// Bytes as they are.
    case bytes([UInt8])
}

/// A statement that was compiled once and runs as often as one likes. It is its database's, and stays in this target.
@safe final class Statement {
    // SAFETY: `sqlite3_prepare_v3` made it and `deinit` ends it. The database calls it only while it is open itself.
    private let handle: OpaquePointer
    private var isRunning = false

    init(_ text: String, in database: Database) throws(SQLiteError) {
        var made: OpaquePointer?
        // SAFETY: the text is lent for the call, which stores one pointer, nil where it fails.
        let code = unsafe sqlite3_prepare_v3(database.handle, text, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &made, nil)
        guard code == SQLITE_OK else { throw unsafe Database.error(of: database.handle) }
        guard let handle = unsafe made else { throw SQLiteError(code: SQLITE_MISUSE, text: "an empty statement") }
        unsafe self.handle = handle
    }

    // SAFETY: see `handle`.
    deinit { unsafe sqlite3_finalize(handle) }

    /// Runs it from its beginning to its end, or until a row is answered with false.
    func run(_ values: [Value], _ read: (borrowing Row) throws(SQLiteError) -> Bool) throws(SQLiteError) {
        precondition(!isRunning, "a query began in the midst of itself")
        isRunning = true
        defer {
            isRunning = false
            // SAFETY: the statement is ours. What failed was thrown already; what was bound is let go, for it may be large.
            unsafe sqlite3_reset(handle)
            unsafe sqlite3_clear_bindings(handle)
        }
        for (index, value) in values.enumerated() { try bind(value, at: Int32(index) + 1) }
        while try step() {
            guard try read(unsafe Row(handle)) else { return }
        }
    }

    /// Goes on to the next row; false at the end.
    private func step() throws(SQLiteError) -> Bool {
        // SAFETY: the statement is ours.
        let code = unsafe sqlite3_step(handle)
        switch code {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        default: throw error
        }
    }

    private func bind(_ value: Value, at index: Int32) throws(SQLiteError) {
        let code: Int32
        // SAFETY: the statement is ours, and SQLite copies text and bytes during the call.
        switch value {
        case .integer(let number): code = unsafe sqlite3_bind_int64(handle, index, number)
        case .text(nil): code = unsafe sqlite3_bind_null(handle, index)
        case .text(let text?):
            var text = text
            code = text.withUTF8 { utf8 in
                unsafe utf8.withMemoryRebound(to: CChar.self) { characters in
                    guard let start = characters.baseAddress else {
                        return unsafe csqlite_bind_text(handle, index, "", 0)
                    }
                    return unsafe csqlite_bind_text(handle, index, start, UInt64(characters.count))
                }
            }
        case .bytes(let bytes):
            code = unsafe bytes.withUnsafeBytes { buffer in
                guard let start = buffer.baseAddress else {
                    return unsafe csqlite_bind_bytes(handle, index, "", 0)
                }
                return unsafe csqlite_bind_bytes(handle, index, start, UInt64(buffer.count))
            }
        }
        guard code == SQLITE_OK else { throw error }
    }

    private var error: SQLiteError {
        // SAFETY: a statement has a database for as long as it is.
        guard let database = unsafe sqlite3_db_handle(handle) else {
            return SQLiteError(code: SQLITE_MISUSE, text: "a statement without a database")
        }
        return unsafe Database.error(of: database)
    }
}

/// One row of a query, to be read before the next. Columns are numbered from 0; SQLite converts a value of another kind.
@safe public struct Row: ~Copyable {
    // SAFETY: a statement that stands on a row, and goes on only when whoever reads this has returned. A row cannot be kept.
    private let statement: OpaquePointer

    // SAFETY: as above.
    fileprivate init(_ statement: OpaquePointer) { unsafe self.statement = statement }

    /// How many columns it has.
    public var columnCount: Int32 {
        // SAFETY: the statement is alive for as long as this is.
        unsafe sqlite3_column_count(statement)
    }

    /// Whether there is no value.
    public func isNull(_ column: Int32) -> Bool {
        // SAFETY: SQLite answers for a column that is not there as for one without a value; so below.
        unsafe sqlite3_column_type(statement, column) == SQLITE_NULL
    }

    /// An integer, 0 where there is no value.
    public func integer(_ column: Int32) -> Int64 { unsafe sqlite3_column_int64(statement, column) }

    /// Text, nil where there is no value.
    public func text(_ column: Int32) -> String? {
        // SAFETY: the text lives until the next call for this column and is as long as said after; it is copied at once.
        guard let text = unsafe sqlite3_column_text(statement, column) else { return nil }
        let count = Int(unsafe sqlite3_column_bytes(statement, column))
        return unsafe String(decoding: UnsafeBufferPointer(start: text, count: count), as: UTF8.self)
    }

    /// Bytes, none where there is no value; of them, those of this range.
    public func bytes(_ column: Int32, in range: Range<Int>? = nil) -> [UInt8] {
        // SAFETY: as for text; the range is cut to what there is.
        let start = unsafe sqlite3_column_blob(statement, column)
        let count = Int(unsafe sqlite3_column_bytes(statement, column))
        let all = unsafe UnsafeRawBufferPointer(start: start, count: count)
        guard let range else { return unsafe [UInt8](all) }
        return unsafe [UInt8](UnsafeRawBufferPointer(rebasing: all[range.clamped(to: 0..<count)]))
    }
}
