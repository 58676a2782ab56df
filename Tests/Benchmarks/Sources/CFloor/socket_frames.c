// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
#define _GNU_SOURCE
#include "socket_frames.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t floor_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int floor_socket(const char *path, struct sockaddr_un *address) {
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address->sun_path) return -ENAMETOOLONG;
    strcpy(address->sun_path, path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return descriptor < 0 ? -errno : descriptor;
}

ssize_t floor_read(int descriptor, void *bytes, size_t capacity, uint64_t spin) {
    for (uint64_t end = spin > 0 ? floor_now() + spin : 0; spin > 0 && floor_now() < end; sched_yield()) {
        ssize_t got = recv(descriptor, bytes, capacity, MSG_DONTWAIT);
        if (got >= 0) return got;
        if (errno != EAGAIN && errno != EINTR) return -errno;
    }
    for (;;) {
        ssize_t got = read(descriptor, bytes, capacity);
        if (got >= 0) return got;
        if (errno != EINTR) return -errno;
    }
}

int floor_write_all(int descriptor, const void *bytes, size_t count) {
    for (size_t written = 0; written < count;) {
        ssize_t more = send(descriptor, (const uint8_t *)bytes + written, count - written, MSG_NOSIGNAL);
        if (more < 0 && errno != EINTR) return -errno;
        if (more > 0) written += (size_t)more;
    }
    return 0;
}
