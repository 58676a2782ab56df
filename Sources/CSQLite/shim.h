// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
//
// What Swift cannot call itself of SQLite: functions of many arguments, and constants that are casts.
#pragma once

#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/// Switches one boolean setting of a connection, and says what SQLite says.
static inline int csqlite_switch(sqlite3 *_Nonnull database, int setting, int on) {
    return sqlite3_db_config(database, setting, on, (int *)0);
}

/// SQLite copies the bytes before this returns. Of no bytes the pointer may be anything, but not null: null is no value.
static inline int csqlite_bind_bytes(sqlite3_stmt *_Nonnull statement, int index, const void *_Nonnull bytes, sqlite3_uint64 count) {
    return sqlite3_bind_blob64(statement, index, bytes, count, SQLITE_TRANSIENT);
}

/// Likewise with text in UTF-8, which need not end with a zero.
static inline int csqlite_bind_text(sqlite3_stmt *_Nonnull statement, int index, const char *_Nonnull text, sqlite3_uint64 count) {
    return sqlite3_bind_text64(statement, index, text, count, SQLITE_TRANSIENT, SQLITE_UTF8);
}

/// fstat(2) of an open descriptor by the call of that name. A C library may ask by newfstatat(2) instead, which also takes paths, and
/// so is nothing for a process that gave up looking at any.
static inline int csqlite_fstat(int descriptor, struct stat *_Nonnull status) {
    return (int)syscall(SYS_fstat, descriptor, status);
}

/// Makes SQLite ask that way. Before the first connection.
static inline int csqlite_use_fstat(void) {
    sqlite3_vfs *system = sqlite3_vfs_find("unix");
    if (!system || system->iVersion < 3) return SQLITE_NOTFOUND;
    return system->xSetSystemCall(system, "fstat", (sqlite3_syscall_ptr)csqlite_fstat);
}
