// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
//
// toml++ for Swift: the top level of one TOML document, each key with its place. Nothing throws; texts and values that a
// document hands out live as long as it does.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ctoml_document;

struct ctoml_text {
    const char *_Nullable bytes;
    size_t length;
};

/// Both count from 1.
struct ctoml_place {
    uint32_t line;
    uint32_t column;
};

enum ctoml_kind {
    CTOML_STRING,
    CTOML_INTEGER,
    CTOML_ARRAY,
    CTOML_FLOAT,
    CTOML_BOOLEAN,
    CTOML_TABLE,
    CTOML_DATE,
};

struct ctoml_value {
    enum ctoml_kind kind;
    /// Of a CTOML_INTEGER.
    int64_t integer;
    /// Of a CTOML_STRING; UTF-8.
    struct ctoml_text text;
    /// Elements of a CTOML_ARRAY.
    size_t count;
};

/// Parses UTF-8. The caller frees what it returns.
struct ctoml_document *_Nonnull ctoml_parse(const char *_Nonnull text, size_t length);
void ctoml_free(struct ctoml_document *_Nonnull document);

/// Why the text is no TOML and where that showed, or a text without bytes where it is.
struct ctoml_text ctoml_error(const struct ctoml_document *_Nonnull document, struct ctoml_place *_Nonnull place);

/// Keys at the top level, in no order that means anything. Zero where the text is no TOML.
size_t ctoml_count(const struct ctoml_document *_Nonnull document);
/// A key by number, below `ctoml_count`, and where it stands.
struct ctoml_text ctoml_key(
    const struct ctoml_document *_Nonnull document, size_t number, struct ctoml_place *_Nonnull place);
/// The value of a key by number.
struct ctoml_value ctoml_value(const struct ctoml_document *_Nonnull document, size_t number);
/// An element, below `count`, of the array that is the value of a key by number.
struct ctoml_value ctoml_element(const struct ctoml_document *_Nonnull document, size_t number, size_t element);

#ifdef __cplusplus
}
#endif
