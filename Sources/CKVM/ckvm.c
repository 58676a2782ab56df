// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
#define _GNU_SOURCE
#include "ckvm.h"

#include <cpuid.h>
#include <fcntl.h>
#include <immintrin.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static int fail(void) { return -errno; }

int ckvm_open(void) {
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    return fd < 0 ? fail() : fd;
}

// initial-exec, as everything here that each call touches.
static __thread __attribute__((tls_model("initial-exec"))) uint64_t vcpu_calls;

int ckvm_vcpu_ioctl(int vcpu, unsigned long request, void *argument) {
    vcpu_calls++;
    return ckvm_ioctl(vcpu, request, argument);
}

int ckvm_run(int vcpu) {
    vcpu_calls++;
    return ckvm_ioctl_number(vcpu, CKVM_RUN, 0);
}

uint64_t ckvm_vcpu_calls(void) { return vcpu_calls; }

int ckvm_allow_msrs(int machine, const struct ckvm_msr_range *ranges, uint32_t count) {
    // One set bit for each register of the longest range.
    static uint8_t all[8] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    if (count > KVM_MSR_FILTER_MAX_RANGES) return -E2BIG;
    struct kvm_msr_filter filter;
    memset(&filter, 0, sizeof filter);
    filter.flags = KVM_MSR_FILTER_DEFAULT_DENY;
    for (uint32_t i = 0; i < count; i++) {
        if (ranges[i].count > sizeof all * 8) return -E2BIG;
        filter.ranges[i].flags = ranges[i].access;
        filter.ranges[i].base = ranges[i].first;
        filter.ranges[i].nmsrs = ranges[i].count;
        filter.ranges[i].bitmap = all;
    }
    return ckvm_ioctl(machine, CKVM_SET_MSR_FILTER, &filter);
}

int ckvm_take_ring(struct kvm_coalesced_mmio_ring *ring, uint16_t *ports, uint8_t *values) {
    // The kernel stores an entry, then `last`; it stores no entry at `first` or behind, which only we move on.
    uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
    uint32_t next = __atomic_load_n(&ring->first, __ATOMIC_RELAXED);
    if (last >= CKVM_RING_ENTRIES || next >= CKVM_RING_ENTRIES) {
        ckvm_empty_ring(ring);
        return -EPROTO;
    }
    int count = 0;
    while (next != last) {
        const struct kvm_coalesced_mmio *entry = &ring->coalesced_mmio[next];
        if (entry->pio != 1 || entry->len != 1 || entry->phys_addr > UINT16_MAX) {
            ckvm_empty_ring(ring);
            return -EPROTO;
        }
        ports[count] = (uint16_t)entry->phys_addr;
        values[count++] = entry->data[0];
        next = next + 1 == CKVM_RING_ENTRIES ? 0 : next + 1;
    }
    __atomic_store_n(&ring->first, next, __ATOMIC_RELEASE);
    return count;
}

void ckvm_empty_ring(struct kvm_coalesced_mmio_ring *ring) {
    uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
    // The kernel puts nothing into a ring whose `last` is out of bounds; there it has to be set too.
    if (last >= CKVM_RING_ENTRIES) __atomic_store_n(&ring->last, last = 0, __ATOMIC_RELAXED);
    __atomic_store_n(&ring->first, last, __ATOMIC_RELEASE);
}

// initial-exec: the handler may touch it at any instant, so it must never be allocated lazily.
static __thread __attribute__((tls_model("initial-exec"))) struct ckvm_kick *volatile current_kick;

static void store_kick(struct ckvm_kick *kick) {
    __atomic_store_n(&kick->pending, 1, __ATOMIC_SEQ_CST);
    ckvm_set_immediate_exit(kick->run, 1);
}

static void on_kick(int signal) {
    (void)signal;
    struct ckvm_kick *kick = current_kick;
    if (kick) store_kick(kick);
}

int ckvm_kick_signal(void) { return SIGUSR1; }

static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static int handler_result;

static void install_handler(void) {
    // No SA_RESTART: KVM_RUN has to return.
    struct sigaction action = {.sa_handler = on_kick};
    sigemptyset(&action.sa_mask);
    handler_result = sigaction(ckvm_kick_signal(), &action, NULL) < 0 ? fail() : 0;
}

int ckvm_prepare_thread(void) {
    pthread_once(&handler_once, install_handler);
    if (handler_result < 0) return handler_result;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, ckvm_kick_signal());
    return -pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void ckvm_set_current(struct ckvm_kick *kick) {
    current_kick = kick;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

int ckvm_kick(struct ckvm_kick *kick, int thread) {
    store_kick(kick);
    return syscall(SYS_tgkill, getpid(), thread, ckvm_kick_signal()) < 0 ? fail() : 0;
}

int ckvm_thread_id(void) {
    // Asked once for each thread: the C library keeps no number of its own, and the worker never forks.
    static __thread int id;
    if (id == 0) id = (int)syscall(SYS_gettid);
    return id;
}

int ckvm_timer_create(uintptr_t *timer) {
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = ckvm_kick_signal();
    event.sigev_notify_thread_id = ckvm_thread_id();
    timer_t id;
    if (timer_create(CLOCK_MONOTONIC, &event, &id) < 0) return fail();
    *timer = (uintptr_t)id;
    return 0;
}

int ckvm_timer_arm(uintptr_t timer, uint64_t nanoseconds) {
    struct itimerspec when = {0};
    when.it_value.tv_sec = (time_t)(nanoseconds / 1000000000u);
    when.it_value.tv_nsec = (long)(nanoseconds % 1000000000u);
    return timer_settime((timer_t)timer, TIMER_ABSTIME, &when, NULL) < 0 ? fail() : 0;
}

void ckvm_timer_delete(uintptr_t timer) { timer_delete((timer_t)timer); }

static uint64_t read_clock(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t ckvm_now(void) { return read_clock(CLOCK_MONOTONIC); }

uint64_t ckvm_ticks(void) {
    _mm_lfence();
    return __rdtsc();
}

int ckvm_ticks_are_steady(void) {
    unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) && (edx & 1 << 8) != 0;
}

uint64_t ckvm_realtime(void) { return read_clock(CLOCK_REALTIME); }

uint64_t ckvm_thread_time(void) { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

int ckvm_map_memory(uint64_t size, void **address) {
    void *result = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (result == MAP_FAILED) return fail();
    *address = result;
    // A core dump of the worker holds no guest's memory.
    madvise(result, size, MADV_DONTDUMP);
    return 0;
}

void ckvm_avoid_huge_pages(void *address, uint64_t size) { madvise(address, size, MADV_NOHUGEPAGE); }

int ckvm_give_back(void *address, uint64_t size) { return madvise(address, size, MADV_DONTNEED) < 0 ? fail() : 0; }

int ckvm_forget_pages(void *memory, uint64_t size, uint64_t offset, uint64_t count) {
    char *start = (char *)memory + offset;
    int both = PROT_READ | PROT_WRITE;
    // A part takes a mapping of its own meanwhile. Where the process may have no more of them, all of the memory will do.
    if (mprotect(start, count, PROT_READ) == 0 && mprotect(start, count, both) == 0) return 0;
    if (mprotect(memory, size, PROT_READ) == 0 && mprotect(memory, size, both) == 0) return 0;
    return fail();
}

int64_t ckvm_count_resident_pages(void *address, uint64_t size) {
    enum { PAGE = 4096 };
    // One call for each 64 MiB: mincore answers with a byte for each page.
    unsigned char answers[64 * 1024 * 1024 / PAGE];
    int64_t resident = 0;
    for (uint64_t done = 0; done < size;) {
        uint64_t part = size - done < sizeof answers * PAGE ? size - done : sizeof answers * PAGE;
        if (mincore((char *)address + done, part, answers) < 0) return fail();
        for (uint64_t page = 0; page < part / PAGE; page++) resident += answers[page] & 1;
        done += part;
    }
    return resident;
}

static pthread_once_t pagemap_once = PTHREAD_ONCE_INIT;
static int pagemap;

static void open_pagemap(void) {
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    pagemap = fd < 0 ? fail() : fd;
}

int ckvm_pagemap(void) {
    pthread_once(&pagemap_once, open_pagemap);
    return pagemap;
}

int ckvm_map_run_area(int vcpu, uint64_t size, void **address) {
    void *result = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (result == MAP_FAILED) return fail();
    *address = result;
    return 0;
}

void ckvm_unmap(void *address, uint64_t size) { munmap(address, size); }

void ckvm_close(int fd) { close(fd); }

int64_t ckvm_read_at(int fd, void *buffer, uint64_t count, uint64_t offset) {
    ssize_t result = pread(fd, buffer, count, (off_t)offset);
    return result < 0 ? fail() : result;
}

int ckvm_open_instruction_counter(void) {
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_HARDWARE,
        .size = sizeof attributes,
        .config = PERF_COUNT_HW_INSTRUCTIONS,
        // A counter with a period of 0 never overflows; the real one is set at each start.
        .sample_period = UINT64_C(1) << 62,
        .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
        .disabled = 1,
        .pinned = 1,
        .exclude_host = 1,
        .exclude_hv = 1,
    };
    int fd = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0) return fail();
    struct f_owner_ex owner = {.type = F_OWNER_TID, .pid = ckvm_thread_id()};
    if (fcntl(fd, F_SETOWN_EX, &owner) < 0 || fcntl(fd, F_SETSIG, ckvm_kick_signal()) < 0 ||
        fcntl(fd, F_SETFL, O_ASYNC) < 0) {
        int result = fail();
        close(fd);
        return result;
    }
    return fd;
}

int ckvm_start_instruction_counter(int fd, uint64_t period) {
    if (ioctl(fd, CKVM_COUNTER_RESET, 0) < 0) return fail();
    if (ioctl(fd, CKVM_COUNTER_PERIOD, &period) < 0) return fail();
    return ioctl(fd, CKVM_COUNTER_ENABLE, 0) < 0 ? fail() : 0;
}

int ckvm_stop_instruction_counter(int fd) { return ioctl(fd, CKVM_COUNTER_DISABLE, 0) < 0 ? fail() : 0; }

int ckvm_read_instruction_counter(int fd, uint64_t *count) {
    struct {
        uint64_t value, enabled, running;
    } reading;
    ssize_t result = read(fd, &reading, sizeof reading);
    if (result < 0) return fail();
    // A pinned counter that lost its place on the processor reads as the end of a file.
    if (result != sizeof reading || reading.enabled != reading.running) return -EAGAIN;
    *count = reading.value;
    return 0;
}
