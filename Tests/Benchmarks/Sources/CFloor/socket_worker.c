// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
#define _GNU_SOURCE
#include "socket_floor.h"

#include "floor.h"
#include "socket_frames.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MEMORY_BYTES = 64 << 10, LOAD_ADDRESS = 0x1000, DEBUG_CONSOLE = 0xE9, XSAVE_BYTES = 4096 };
#define SYNCHRONISED (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

/// A machine and all of a vCPU that a guest could leave something in, as it was before the first guest.
struct place {
    struct floor_machine machine;
    struct kvm_coalesced_mmio_ring *ring;
    uint32_t ring_entries;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debug;
    uint8_t xsave[XSAVE_BYTES] __attribute__((aligned(64)));
};

static struct floor_kvm kvm;
static uint64_t spin_time;

static int prepare(struct place *place) {
    int result = floor_make(&kvm, MEMORY_BYTES, &place->machine);
    if (result < 0) return result;
    const struct floor_machine *machine = &place->machine;
    struct kvm_msr_filter none = {.flags = KVM_MSR_FILTER_DEFAULT_DENY};
    static uint8_t no_bits[8];
    none.ranges[0] = (struct kvm_msr_filter_range){
        .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, .nmsrs = 8, .base = 0x174, .bitmap = no_bits};
    struct kvm_coalesced_mmio_zone console = {.addr = DEBUG_CONSOLE, .size = 1, .pio = 1};
    int page = ioctl(kvm.descriptor, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
    if (ioctl(machine->machine, KVM_X86_SET_MSR_FILTER, &none) < 0
        || ioctl(machine->machine, KVM_REGISTER_COALESCED_MMIO, &console) < 0
        || ioctl(machine->vcpu, KVM_GET_SREGS, &place->sregs) < 0
        || ioctl(machine->vcpu, KVM_GET_VCPU_EVENTS, &place->events) < 0
        || ioctl(machine->vcpu, KVM_GET_XCRS, &place->xcrs) < 0
        || ioctl(machine->vcpu, KVM_GET_DEBUGREGS, &place->debug) < 0
        || ioctl(machine->vcpu, KVM_GET_XSAVE, place->xsave) < 0)
        return -errno;
    place->ring = (struct kvm_coalesced_mmio_ring *)((uint8_t *)machine->run + page * getpagesize());
    place->ring_entries = (uint32_t)(((size_t)getpagesize() - sizeof *place->ring) / sizeof place->ring->coalesced_mmio[0]);
    place->sregs.cs.base = place->sregs.cs.selector = 0;
    machine->run->kvm_valid_regs = SYNCHRONISED;
    return 0;
}

/// Memory, and every register that a guest can write, as they were.
static int reset(struct place *place, const uint8_t *image, size_t bytes) {
    struct kvm_run *run = place->machine.run;
    memset(place->machine.memory, 0, MEMORY_BYTES);
    memcpy(place->machine.memory + LOAD_ADDRESS, image, bytes);
    run->s.regs.regs = (struct kvm_regs){.rip = LOAD_ADDRESS, .rflags = 2};
    run->s.regs.sregs = place->sregs;
    run->s.regs.events = place->events;
    run->kvm_dirty_regs = SYNCHRONISED;
    if (ioctl(place->machine.vcpu, KVM_SET_XCRS, &place->xcrs) < 0
        || ioctl(place->machine.vcpu, KVM_SET_XSAVE, place->xsave) < 0
        || ioctl(place->machine.vcpu, KVM_SET_DEBUGREGS, &place->debug) < 0)
        return -errno;
    return 0;
}

static void drain(struct place *place, struct minimal_reply *reply) {
    struct kvm_coalesced_mmio_ring *ring = place->ring;
    for (; ring->first != ring->last; ring->first = (ring->first + 1) % place->ring_entries) {
        if (reply->output_bytes == sizeof reply->output) continue;
        reply->output[reply->output_bytes++] = ring->coalesced_mmio[ring->first].data[0];
    }
}

static int run_job(struct place *place, const struct minimal_request *request, struct minimal_reply *reply) {
    *reply = (struct minimal_reply){.length = sizeof *reply - sizeof reply->length, .job = request->job};
    int result = reset(place, request->image, request->length - sizeof request->job);
    if (result < 0) return result;
    struct kvm_run *run = place->machine.run;
    do {
        if (ioctl(place->machine.vcpu, KVM_RUN, 0) < 0) return -errno;
        drain(place, reply);
    } while (run->exit_reason == KVM_EXIT_IO);
    reply->exit_reason = run->exit_reason;
    reply->registers = run->s.regs.regs;
    return 0;
}

/// All complete requests in the buffer; their replies leave in as few writes as they fit in.
static ssize_t answer(int connection, struct place *place, const uint8_t *bytes, size_t count) {
    static __thread uint8_t replies[64 << 10];
    size_t at = 0, filled = 0;
    while (count - at >= sizeof(uint32_t)) {
        const struct minimal_request *request = (const struct minimal_request *)(bytes + at);
        size_t size = sizeof request->length + request->length;
        if (size > sizeof *request) return -EMSGSIZE;
        if (count - at < size) break;
        int result = run_job(place, request, (struct minimal_reply *)(replies + filled));
        if (result < 0) return result;
        filled += sizeof(struct minimal_reply);
        at += size;
        if (sizeof replies - filled >= sizeof(struct minimal_reply)) continue;
        if ((result = floor_write_all(connection, replies, filled)) < 0) return result;
        filled = 0;
    }
    int result = filled > 0 ? floor_write_all(connection, replies, filled) : 0;
    return result < 0 ? result : (ssize_t)at;
}

static void *serve_connection(void *argument) {
    int connection = (int)(intptr_t)argument;
    static __thread uint8_t requests[64 << 10];
    static __thread struct place place;
    size_t count = 0;
    int result = prepare(&place);
    while (result == 0) {
        ssize_t got = floor_read(connection, requests + count, sizeof requests - count, spin_time);
        if (got <= 0) break;
        count += (size_t)got;
        ssize_t used = answer(connection, &place, requests, count);
        if (used < 0) break;
        count -= (size_t)used;
        memmove(requests, requests + used, count);
    }
    close(connection);
    floor_destroy(&place.machine);
    return NULL;
}

int floor_serve(const char *path, uint64_t spin) {
    spin_time = spin;
    int result = floor_open(&kvm);
    if (result < 0) return result;
    struct sockaddr_un address;
    int listener = floor_socket(path, &address);
    if (listener < 0) return listener;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 16) < 0) return -errno;
    fputs("worker-ready\n", stderr);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) return -errno;
        pthread_t thread;
        if ((result = pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)connection)) != 0) return -result;
        pthread_detach(thread);
    }
}
