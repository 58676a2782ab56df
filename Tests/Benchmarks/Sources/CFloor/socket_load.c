// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
#define _GNU_SOURCE
#include "socket_floor.h"

#include "floor.h"
#include "socket_frames.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 64 << 10, HEADER_BYTES = 12, DATA_HEADER_BYTES = 12 };
enum frame_type { HELLO = 0x01, ERROR = 0x05, SUBMIT = 0x10, IMAGE = 0x11, OUTPUT = 0x22, RESULT = 0x23 };

/// One connection: the frames of one job, made once, and what has come.
struct session {
    const struct floor_load *load;
    int descriptor;
    /// A request's bytes; only the job's number is written anew.
    uint8_t request[1024];
    size_t request_bytes;
    /// Where in it the number stands.
    size_t numbers[2];
    int number_count;
    int submitted, finished;
    /// Bytes of output that have come.
    uint64_t output;
    uint8_t incoming[BUFFER_BYTES];
    size_t count;
    int result;
};

// MARK: A job's frames

static void put(struct session *session, const void *bytes, size_t count) {
    memcpy(session->request + session->request_bytes, bytes, count);
    session->request_bytes += count;
}

static void put_number(struct session *session, uint64_t number, size_t bytes) {
    uint64_t big = htobe64(number << (64 - 8 * bytes));
    put(session, &big, bytes);
}

static void put_header(struct session *session, size_t length, enum frame_type type, uint8_t flags) {
    put_number(session, length, 4);
    put_number(session, type, 1);
    put_number(session, flags, 1);
    put_number(session, 0, 2);
    session->numbers[session->number_count++] = session->request_bytes;
    put_number(session, 0, 4);
}

static void put_field(struct session *session, uint16_t tag, uint64_t value, size_t bytes) {
    put_number(session, tag, 2);
    put_number(session, bytes, 4);
    put_number(session, value, bytes);
}

/// SUBMIT with mode real16, image size and 1 MiB of memory; IMAGE with END.
static void make_request(struct session *session) {
    const struct floor_load *load = session->load;
    if (load->dialect == FLOOR_MINIMAL) {
        struct minimal_request head = {.length = (uint32_t)(sizeof head.job + load->image_bytes)};
        put(session, &head, sizeof head.length + sizeof head.job);
        session->numbers[session->number_count++] = sizeof head.length;
    } else {
        put_header(session, 7 + 14 + 14, SUBMIT, 0);
        put_field(session, 0x8002, 1, 1);
        put_field(session, 0x8003, load->image_bytes, 8);
        put_field(session, 0x8007, 1 << 20, 8);
        put_header(session, DATA_HEADER_BYTES + load->image_bytes, IMAGE, 1);
        put_number(session, 0, 4);
        put_number(session, 0, 8);
    }
    put(session, load->image, load->image_bytes);
}

static int submit(struct session *session) {
    static __thread uint8_t outgoing[BUFFER_BYTES];
    size_t count = 0;
    const struct floor_load *load = session->load;
    while (session->submitted < load->jobs && session->submitted - session->finished < load->window
           && sizeof outgoing - count >= session->request_bytes) {
        uint32_t number = htobe32((uint32_t)++session->submitted);
        for (int i = 0; i < session->number_count; i++) memcpy(session->request + session->numbers[i], &number, 4);
        memcpy(outgoing + count, session->request, session->request_bytes);
        count += session->request_bytes;
    }
    return count > 0 ? floor_write_all(session->descriptor, outgoing, count) : 0;
}

// MARK: What comes back

static uint32_t number_at(const uint8_t *bytes) {
    uint32_t number;
    memcpy(&number, bytes, sizeof number);
    return be32toh(number);
}

/// Takes bytes that are to be the job's output from this place on.
static int take_output(struct session *session, uint64_t offset, const uint8_t *bytes, uint64_t count) {
    uint64_t whole = session->load->output_bytes;
    if (offset > whole || count > whole - offset || memcmp(bytes, session->load->output + offset, count) != 0)
        return FLOOR_UNEXPECTED;
    session->output += count;
    return 0;
}

/// One message of the protocol's.
static int take_message(struct session *session, const uint8_t *frame, size_t payload) {
    const uint8_t *content = frame + HEADER_BYTES;
    uint64_t offset;
    switch (frame[4]) {
    case OUTPUT:
        memcpy(&offset, content + 4, sizeof offset);
        return take_output(session, be64toh(offset), content + DATA_HEADER_BYTES, payload - DATA_HEADER_BYTES);
    case RESULT:
        // The outcome is the first field: tag and length, then 1 for halted.
        session->finished++;
        return content[6] == 1 ? 0 : FLOOR_UNEXPECTED;
    case ERROR: return FLOOR_UNEXPECTED;
    default: return 0;
    }
}

static int take_reply(struct session *session, const struct minimal_reply *reply) {
    session->finished++;
    if (reply->exit_reason != KVM_EXIT_HLT) return FLOOR_UNEXPECTED;
    return take_output(session, 0, reply->output, reply->output_bytes);
}

static int take(struct session *session) {
    bool is_minimal = session->load->dialect == FLOOR_MINIMAL;
    size_t at = 0, head = is_minimal ? sizeof(uint32_t) : HEADER_BYTES;
    while (session->count - at >= head) {
        const uint8_t *frame = session->incoming + at;
        size_t payload = is_minimal ? ((const struct minimal_reply *)frame)->length : number_at(frame);
        if (session->count - at < head + payload) break;
        int result = is_minimal ? take_reply(session, (const struct minimal_reply *)frame)
                                : take_message(session, frame, payload);
        if (result < 0) return result;
        at += head + payload;
    }
    session->count -= at;
    memmove(session->incoming, session->incoming + at, session->count);
    return 0;
}

static int receive(struct session *session) {
    ssize_t got = floor_read(
        session->descriptor, session->incoming + session->count, BUFFER_BYTES - session->count, session->load->spin);
    if (got <= 0) return got < 0 ? (int)got : -ECONNRESET;
    session->count += (size_t)got;
    return take(session);
}

/// HELLO: version 1.0, frames of 64 KiB, and a window of as much output as there can be.
static int greet(struct session *session) {
    if (session->load->dialect == FLOOR_MINIMAL) return 0;
    struct session hello = {.descriptor = session->descriptor};
    put_header(&hello, 8 + 10 + 10, HELLO, 0);
    put_field(&hello, 0x0001, 0x0100, 2);
    put_field(&hello, 0x0002, BUFFER_BYTES, 4);
    put_field(&hello, 0x0004, 0x40000, 4);
    return floor_write_all(session->descriptor, hello.request, hello.request_bytes);
}

static void *bring(void *argument) {
    struct session *session = argument;
    while (session->result == 0 && session->finished < session->load->jobs) {
        session->result = submit(session);
        if (session->result == 0) session->result = receive(session);
    }
    uint64_t expected = (uint64_t)session->load->jobs * session->load->output_bytes;
    if (session->result == 0 && session->output != expected) session->result = FLOOR_UNEXPECTED;
    return NULL;
}

static int open_session(struct session *session, const struct floor_load *load) {
    session->load = load;
    struct sockaddr_un address;
    session->descriptor = floor_socket(load->path, &address);
    if (session->descriptor < 0) return session->descriptor;
    if (connect(session->descriptor, (struct sockaddr *)&address, sizeof address) < 0) return -errno;
    make_request(session);
    return greet(session);
}

int64_t floor_bring(const struct floor_load *load) {
    if (load->image_bytes > sizeof((struct minimal_request *)0)->image) return -EMSGSIZE;
    struct session *sessions = calloc((size_t)load->connections, sizeof *sessions);
    pthread_t *threads = calloc((size_t)load->connections, sizeof *threads);
    int64_t result = 0;
    for (int i = 0; i < load->connections && result == 0; i++) result = open_session(&sessions[i], load);
    uint64_t began = floor_now();
    if (result == 0) {
        for (int i = 0; i < load->connections; i++) pthread_create(&threads[i], NULL, bring, &sessions[i]);
        for (int i = 0; i < load->connections; i++) pthread_join(threads[i], NULL);
        result = (int64_t)(floor_now() - began);
    }
    for (int i = 0; i < load->connections; i++) {
        if (result > 0 && sessions[i].result < 0) result = sessions[i].result;
        if (sessions[i].descriptor > 0) close(sessions[i].descriptor);
    }
    free(threads);
    free(sessions);
    return result;
}
