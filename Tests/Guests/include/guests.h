// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// The guest programs that tests run. Their sources are the .S files beside this folder; program.h says what machine
// they expect and what a step is.

#pragma once

#include <stddef.h>
#include <stdint.h>

/// How a guest comes to its end when no budget stops it and its ports behave as program.h says.
enum guest_end {
    /// Never, or not in one way on every backend.
    GUEST_END_OPEN = 0,
    /// It executes HLT.
    GUEST_END_HALTED = 1,
    /// It writes `code` to the exit port.
    GUEST_END_EXITED = 2,
    /// It raises the exception with the vector `code`.
    GUEST_END_FAULTED = 3,
    /// It raises an exception that cannot be delivered.
    GUEST_END_TRIPLE_FAULT = 4,
};

/// One guest program.
struct guest {
    /// Unique; also the stem of its file name.
    const char *_Nonnull name;
    /// The first byte.
    const uint8_t *_Nonnull image;
    /// Bytes.
    uint64_t size;
    /// The guest physical address of the first byte, which is also the first instruction.
    uint64_t load;
    /// Steps until the end, the last instruction included if it retires; 0 = not fixed.
    uint64_t steps;
    /// The mode it starts in, numbered as on the wire: 1 real16, 2 protected32, 3 long64, 4 user64.
    uint32_t mode;
    /// A `guest_end`.
    uint32_t end;
    /// The exit code or the exception's vector, where `end` has one.
    uint32_t code;
};

/// The guest at an index, in the order of the sources; NULL behind the last one.
const struct guest *_Nullable guest_at(size_t index);

/// The guest of this name, or NULL.
const struct guest *_Nullable guest_named(const char *_Nonnull name);
