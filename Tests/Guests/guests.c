// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

#include "guests.h"

#include <string.h>

// Each .S file has a table of its programs: TABLE and END_TABLE in program.h.
#define TABLE(file) extern const struct guest guests_##file[], guests_##file##_end[];
#define TABLES                                                                                                         \
    TABLE(classic)                                                                                                     \
    TABLE(programs)                                                                                                    \
    TABLE(steps_real16)                                                                                                \
    TABLE(steps_protected32)                                                                                           \
    TABLE(steps_long64)                                                                                                \
    TABLE(steps_user64)                                                                                                \
    TABLE(faults)                                                                                                      \
    TABLE(hostile)                                                                                                     \
    TABLE(poison)                                                                                                      \
    TABLE(warm)
TABLES
#undef TABLE

static const struct {
    const struct guest *first, *end;
} tables[] = {
#define TABLE(file) {guests_##file, guests_##file##_end},
    TABLES
#undef TABLE
};

const struct guest *guest_at(size_t index) {
    for (size_t table = 0; table < sizeof tables / sizeof *tables; table++) {
        size_t count = (size_t)(tables[table].end - tables[table].first);
        if (index < count)
            return &tables[table].first[index];
        index -= count;
    }
    return NULL;
}

const struct guest *guest_named(const char *name) {
    const struct guest *guest;
    for (size_t index = 0; (guest = guest_at(index)) != NULL; index++)
        if (strcmp(guest->name, name) == 0)
            return guest;
    return NULL;
}
