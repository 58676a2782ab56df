// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Linked into a program, this takes the place of the C library's allocating functions, for Swift's run-time library too, and counts.

#pragma once

#include <stdint.h>

/// How often the calling thread has allocated memory since it began.
uint64_t allocations_of_thread(void);
