// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// What both ends of the floor's socket share.

#pragma once

#include <linux/kvm.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

/// The least that a job can be asked for with. `length` counts what follows it.
struct __attribute__((packed)) minimal_request {
    uint32_t length;
    uint32_t job;
    uint8_t image[256];
};

/// The least that can be said of its end.
struct __attribute__((packed)) minimal_reply {
    uint32_t length;
    uint32_t job;
    uint32_t exit_reason;
    struct kvm_regs registers;
    uint8_t output_bytes;
    uint8_t output[16];
};

/// A stream socket for this path, or -errno.
int floor_socket(const char *path, struct sockaddr_un *address);

/// Reads what there is, polling for `spin` nanoseconds before it waits. Returns the count, 0 at the end, or -errno.
ssize_t floor_read(int descriptor, void *bytes, size_t capacity, uint64_t spin);

/// Writes all. Returns 0 or -errno.
int floor_write_all(int descriptor, const void *bytes, size_t count);

uint64_t floor_now(void);
