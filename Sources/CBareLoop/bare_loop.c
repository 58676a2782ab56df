// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
#define _GNU_SOURCE
#include "bare_loop.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { page_bytes = 4096, com1 = 0x3F8, com1_status = 0x3FD, debug_console = 0xE9, exit_port = 0xF4 };

struct bare_loop {
    int kvm, machine, vcpu;
    struct kvm_run *run;
    uint64_t run_bytes;
    struct kvm_coalesced_mmio_ring *ring;
    uint8_t *memory, *pristine;
    uint64_t memory_bytes;
    // A bit for each page, as the kernel writes it, and the numbers of the pages that a job writes.
    uint64_t *log;
    uint64_t *written;
    uint64_t written_count;
    struct kvm_cpuid2 *cpuid;
    // What every job starts with.
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events;
    _Alignas(64) uint8_t xsave[sizeof(struct kvm_xsave)];
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debug;
    // How the first job ended; every other has to end so too.
    int has_run;
    struct bare_end end;
};

static int fail(void) { return -errno; }

static void *map(uint64_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

// MARK: Making

static int open_kvm(struct bare_loop *loop) {
    const int entries = 256;
    loop->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (loop->kvm < 0) return fail();
    const int required[] = {KVM_CAP_SYNC_REGS, KVM_CAP_XSAVE, KVM_CAP_XCRS, KVM_CAP_DEBUGREGS, KVM_CAP_X86_MSR_FILTER};
    for (unsigned i = 0; i < sizeof required / sizeof required[0]; i++) {
        if (ioctl(loop->kvm, KVM_CHECK_EXTENSION, required[i]) <= 0) return BARE_LOOP_UNSUPPORTED;
    }
    loop->cpuid = calloc(1, sizeof *loop->cpuid + entries * sizeof loop->cpuid->entries[0]);
    if (!loop->cpuid) return -ENOMEM;
    loop->cpuid->nent = entries;
    return ioctl(loop->kvm, KVM_GET_SUPPORTED_CPUID, loop->cpuid) < 0 ? fail() : 0;
}

// Every MSR is denied but those that come back with the segments and control registers: EFER, FS_BASE, GS_BASE.
static int deny_msrs(const struct bare_loop *loop) {
    static uint8_t all[1] = {0xFF};
    struct kvm_msr_filter filter = {.flags = KVM_MSR_FILTER_DEFAULT_DENY};
    const uint32_t first[] = {0xC0000080, 0xC0000100}, count[] = {1, 2};
    for (int i = 0; i < 2; i++) {
        filter.ranges[i].flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
        filter.ranges[i].base = first[i];
        filter.ranges[i].nmsrs = count[i];
        filter.ranges[i].bitmap = all;
    }
    return ioctl(loop->machine, KVM_X86_SET_MSR_FILTER, &filter) < 0 ? fail() : 0;
}

static int make_memory(struct bare_loop *loop, uint64_t size) {
    loop->memory_bytes = size;
    loop->memory = map(size);
    loop->pristine = map(size);
    loop->log = calloc(size / page_bytes / 64 + 1, sizeof *loop->log);
    loop->written = calloc(size / page_bytes, sizeof *loop->written);
    if (!loop->memory || !loop->pristine || !loop->log || !loop->written) return -ENOMEM;
    struct kvm_userspace_memory_region region = {
        .flags = KVM_MEM_LOG_DIRTY_PAGES, .memory_size = size, .userspace_addr = (uintptr_t)loop->memory};
    return ioctl(loop->machine, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? fail() : 0;
}

static int make_vcpu(struct bare_loop *loop) {
    int size = ioctl(loop->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < 0) return fail();
    loop->vcpu = ioctl(loop->machine, KVM_CREATE_VCPU, 0);
    if (loop->vcpu < 0) return fail();
    void *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, loop->vcpu, 0);
    if (run == MAP_FAILED) return fail();
    loop->run = run;
    loop->run_bytes = (uint64_t)size;
    loop->run->kvm_valid_regs = KVM_SYNC_X86_VALID_FIELDS;
    return ioctl(loop->vcpu, KVM_SET_CPUID2, loop->cpuid) < 0 ? fail() : 0;
}

// Console bytes stay in a ring of the kernel's until a job ends or the ring is full, where the kernel has that.
static int coalesce_console(struct bare_loop *loop) {
    int page = ioctl(loop->kvm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
    if (page <= 0 || ioctl(loop->kvm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) <= 0) return 0;
    const uint64_t ports[] = {com1, debug_console};
    for (int i = 0; i < 2; i++) {
        struct kvm_coalesced_mmio_zone zone = {.addr = ports[i], .size = 1, .pio = 1};
        if (ioctl(loop->machine, KVM_REGISTER_COALESCED_MMIO, &zone) < 0) return fail();
    }
    loop->ring = (void *)((uint8_t *)loop->run + (uint64_t)page * page_bytes);
    return 0;
}

int bare_loop_make(uint64_t memory_bytes, struct bare_loop **result) {
    struct bare_loop *loop = aligned_alloc(_Alignof(struct bare_loop), sizeof *loop);
    *result = loop;
    if (!loop) return -ENOMEM;
    memset(loop, 0, sizeof *loop);
    loop->kvm = loop->machine = loop->vcpu = -1;
    int status = open_kvm(loop);
    if (status < 0) return status;
    loop->machine = ioctl(loop->kvm, KVM_CREATE_VM, 0);
    if (loop->machine < 0) return fail();
    if ((status = deny_msrs(loop)) < 0) return status;
    if ((status = make_memory(loop, memory_bytes)) < 0) return status;
    if ((status = make_vcpu(loop)) < 0) return status;
    return coalesce_console(loop);
}

void bare_loop_destroy(struct bare_loop *loop) {
    if (loop->run) munmap(loop->run, loop->run_bytes);
    if (loop->vcpu >= 0) close(loop->vcpu);
    if (loop->machine >= 0) close(loop->machine);
    if (loop->kvm >= 0) close(loop->kvm);
    if (loop->memory) munmap(loop->memory, loop->memory_bytes);
    if (loop->pristine) munmap(loop->pristine, loop->memory_bytes);
    free(loop->log);
    free(loop->written);
    free(loop->cpuid);
    free(loop);
}

// MARK: The start

int bare_loop_load(struct bare_loop *loop, uint64_t address, const void *bytes, uint64_t count) {
    if (address > loop->memory_bytes || count > loop->memory_bytes - address) return -EFAULT;
    memcpy(loop->pristine + address, bytes, count);
    memcpy(loop->memory + address, bytes, count);
    return 0;
}

static const struct kvm_cpuid_entry2 *leaf(const struct bare_loop *loop, uint32_t function) {
    for (uint32_t i = 0; i < loop->cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &loop->cpuid->entries[i];
        if (entry->function == function && entry->index == 0) return entry;
    }
    return NULL;
}

static void extend(struct bare_loop *loop) {
    const uint64_t osxsave = 1 << 18, fsgsbase = 1 << 16;
    const struct kvm_cpuid_entry2 *features = leaf(loop, 1), *more = leaf(loop, 7), *states = leaf(loop, 0xD);
    if (more && more->ebx & bit_FSGSBASE) loop->sregs.cr4 |= fsgsbase;
    if (!features || !(features->ecx & bit_XSAVE) || !states) return;
    loop->sregs.cr4 |= osxsave;
    loop->xcrs.nr_xcrs = 1;
    loop->xcrs.xcrs[0].xcr = 0;
    loop->xcrs.xcrs[0].value = (states->eax & 7) | 1;
}

int bare_loop_start(
    struct bare_loop *loop, const struct kvm_regs *regs, const struct kvm_sregs *sregs, int extended) {
    struct kvm_sregs initial;
    if (ioctl(loop->vcpu, KVM_GET_SREGS, &initial) < 0) return fail();
    loop->regs = *regs;
    loop->sregs = *sregs;
    loop->sregs.apic_base = initial.apic_base;
    if (ioctl(loop->vcpu, KVM_GET_VCPU_EVENTS, &loop->events) < 0) return fail();
    if (ioctl(loop->vcpu, KVM_GET_XSAVE, loop->xsave) < 0) return fail();
    if (ioctl(loop->vcpu, KVM_GET_XCRS, &loop->xcrs) < 0) return fail();
    if (ioctl(loop->vcpu, KVM_GET_DEBUGREGS, &loop->debug) < 0) return fail();
    if (extended) extend(loop);
    return 0;
}

// MARK: One job

// Everything that a guest can have changed; the rest of the processor it cannot reach, for want of its MSRs.
static int reset(struct bare_loop *loop) {
    for (uint64_t i = 0; i < loop->written_count; i++) {
        uint64_t offset = loop->written[i] * page_bytes;
        memcpy(loop->memory + offset, loop->pristine + offset, page_bytes);
    }
    if (ioctl(loop->vcpu, KVM_SET_XCRS, &loop->xcrs) < 0) return fail();
    if (ioctl(loop->vcpu, KVM_SET_XSAVE, loop->xsave) < 0) return fail();
    if (ioctl(loop->vcpu, KVM_SET_DEBUGREGS, &loop->debug) < 0) return fail();
    struct kvm_sync_regs *next = &loop->run->s.regs;
    next->regs = loop->regs;
    next->sregs = loop->sregs;
    next->events = loop->events;
    loop->run->kvm_dirty_regs = KVM_SYNC_X86_VALID_FIELDS;
    return 0;
}

static uint64_t drain(struct bare_loop *loop) {
    struct kvm_coalesced_mmio_ring *ring = loop->ring;
    if (!ring) return 0;
    const uint32_t slots = (page_bytes - sizeof *ring) / sizeof ring->coalesced_mmio[0];
    uint64_t bytes = 0;
    uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
    while (ring->first != last) {
        bytes += ring->coalesced_mmio[ring->first].len;
        ring->first = (ring->first + 1) % slots;
    }
    return bytes;
}

static void answer(struct kvm_run *run) {
    uint8_t value = run->io.port == com1_status ? 0x60 : run->io.port == debug_console ? debug_console : 0xFF;
    memset((uint8_t *)run + run->io.data_offset, value, (size_t)run->io.size * run->io.count);
}

// The reset's first step: what the last exit left to be completed is completed. The registers are final only then.
static int settle(struct bare_loop *loop) {
    loop->run->immediate_exit = 1;
    int result = ioctl(loop->vcpu, KVM_RUN, 0);
    loop->run->immediate_exit = 0;
    return result < 0 && errno != EINTR ? fail() : 0;
}

// Serves an exit; 1 when it was the job's last.
static int serve(struct bare_loop *loop, struct bare_end *end) {
    struct kvm_run *run = loop->run;
    if (run->exit_reason == KVM_EXIT_HLT) return 1;
    if (run->exit_reason == KVM_EXIT_INTR) return 0;
    if (run->exit_reason != KVM_EXIT_IO) return BARE_LOOP_UNSERVED;
    if (run->io.direction == KVM_EXIT_IO_IN) {
        answer(run);
    } else if (run->io.port == exit_port) {
        memcpy(&end->code, (uint8_t *)run + run->io.data_offset, run->io.size);
        end->exited = 1;
        int status = settle(loop);
        return status < 0 ? status : 1;
    } else if (run->io.port == com1 || run->io.port == debug_console) {
        end->output_bytes += run->io.count;
    }
    return 0;
}

static int run_job(struct bare_loop *loop, struct bare_end *end) {
    *end = (struct bare_end){0};
    int status = reset(loop);
    while (status == 0) {
        if (ioctl(loop->vcpu, KVM_RUN, 0) < 0 && errno != EINTR) return fail();
        end->output_bytes += drain(loop);
        status = serve(loop, end);
    }
    return status < 0 ? status : 0;
}

// MARK: The loop

// The pages that were written since the last call. Those of the first call are restored before each job from then on; a
// later call may find no others.
static int learn(struct bare_loop *loop) {
    struct kvm_dirty_log request = {.dirty_bitmap = loop->log};
    if (ioctl(loop->machine, KVM_GET_DIRTY_LOG, &request) < 0) return fail();
    uint64_t known = 0;
    for (uint64_t page = 0; page < loop->memory_bytes / page_bytes; page++) {
        if (!(loop->log[page / 64] >> page % 64 & 1)) continue;
        if (!loop->has_run) {
            loop->written[loop->written_count++] = page;
        } else {
            while (known < loop->written_count && loop->written[known] < page) known++;
            if (known == loop->written_count || loop->written[known] != page) return BARE_LOOP_DIFFERED;
        }
    }
    return 0;
}

static int run_first(struct bare_loop *loop) {
    int status = run_job(loop, &loop->end);
    if (status == 0) status = learn(loop);
    loop->has_run = status == 0;
    return status;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int is_same(const struct bare_end *one, const struct bare_end *other) {
    return one->exited == other->exited && one->code == other->code && one->output_bytes == other->output_bytes;
}

int bare_loop_run(struct bare_loop *loop, uint64_t nanoseconds, struct bare_tally *tally) {
    int status = loop->has_run ? 0 : run_first(loop);
    if (status < 0) return status;
    *tally = (struct bare_tally){.end = loop->end};
    uint64_t begun = now();
    do {
        struct bare_end end;
        if ((status = run_job(loop, &end)) < 0) return status;
        if (!is_same(&end, &loop->end)) return BARE_LOOP_DIFFERED;
        tally->jobs++;
        tally->nanoseconds = now() - begun;
    } while (tally->nanoseconds < nanoseconds);
    return learn(loop);
}
