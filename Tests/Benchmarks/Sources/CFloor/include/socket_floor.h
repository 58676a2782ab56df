// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// What a worker behind a Unix socket costs at the least: bare C on both ends. The worker has a thread and a machine for each
// connection, and its frames say only what has to be said. The client speaks that, or the whole protocol to a kvmjobd, and does
// as little as it can for either.

#pragma once

#include <stddef.h>
#include <stdint.h>

/// Serves a socket until the process is killed: hello-like guests in real16, each in the connection's one machine, which is
/// brought back before every job as rigorously as the project does it. Says "worker-ready" on standard error. Polls for
/// `spin` nanoseconds before it waits for more. Returns -errno when it cannot start.
int floor_serve(const char *_Nonnull path, uint64_t spin);

/// Whom a load is for.
enum floor_dialect { FLOOR_MINIMAL, FLOOR_PROTOCOL };

/// A load: `connections` threads that each keep `window` jobs of one image in flight until they have done `jobs`.
struct floor_load {
    enum floor_dialect dialect;
    const char *_Nonnull path;
    const uint8_t *_Nonnull image;
    size_t image_bytes;
    /// What each job has to write to the console.
    const uint8_t *_Nonnull output;
    size_t output_bytes;
    int connections;
    int window;
    int jobs;
    /// Nanoseconds to poll for before waiting for a reply.
    uint64_t spin;
};

/// Brings the load and waits for its last result. Returns nanoseconds, or -errno, or FLOOR_UNEXPECTED when a job did not
/// halt or wrote something else.
int64_t floor_bring(const struct floor_load *_Nonnull load);
