// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Errors are values, and the parser is compiled in here: no library to load at run time.
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include "ctoml.h"

#include <iterator>
#include <string_view>
#include <toml++/toml.h>

struct ctoml_document {
    toml::parse_result result;
};

namespace {

ctoml_text text_of(std::string_view text) { return {text.data(), text.size()}; }

ctoml_place place_of(const toml::source_region &region) { return {region.begin.line, region.begin.column}; }

toml::table::const_iterator entry(const ctoml_document *document, size_t number) {
    return std::next(document->result.table().cbegin(), static_cast<std::ptrdiff_t>(number));
}

struct ctoml_value value_of(const toml::node &node) {
    if (auto string = node.as_string()) return {CTOML_STRING, 0, text_of(string->get()), 0};
    if (auto integer = node.as_integer()) return {CTOML_INTEGER, integer->get(), {}, 0};
    if (auto array = node.as_array()) return {CTOML_ARRAY, 0, {}, array->size()};
    if (node.is_floating_point()) return {CTOML_FLOAT, 0, {}, 0};
    if (node.is_boolean()) return {CTOML_BOOLEAN, 0, {}, 0};
    if (node.is_table()) return {CTOML_TABLE, 0, {}, 0};
    return {CTOML_DATE, 0, {}, 0};
}

} // namespace

ctoml_document *ctoml_parse(const char *text, size_t length) {
    return new ctoml_document{toml::parse(std::string_view(text, length))};
}

void ctoml_free(ctoml_document *document) { delete document; }

ctoml_text ctoml_error(const ctoml_document *document, ctoml_place *place) {
    if (document->result.succeeded()) return {};
    const toml::parse_error &error = document->result.error();
    *place = place_of(error.source());
    return text_of(error.description());
}

size_t ctoml_count(const ctoml_document *document) {
    return document->result.succeeded() ? document->result.table().size() : 0;
}

ctoml_text ctoml_key(const ctoml_document *document, size_t number, ctoml_place *place) {
    const toml::key &key = entry(document, number)->first;
    *place = place_of(key.source());
    return text_of(key.str());
}

struct ctoml_value ctoml_value(const ctoml_document *document, size_t number) {
    return value_of(entry(document, number)->second);
}

struct ctoml_value ctoml_element(const ctoml_document *document, size_t number, size_t element) {
    return value_of(*entry(document, number)->second.as_array()->get(element));
}
