// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
//
// What Swift cannot say itself about /dev/kvm: ioctl is variadic, its request numbers are function-like macros, and one
// byte of kvm_run is written by a signal handler and by other threads. Every call has fixed arguments and returns the
// kernel's result or -errno. No policy lives here.
#pragma once

#include <errno.h>
#include <linux/kvm.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

// Requests, by the kernel's names.
static const unsigned long CKVM_GET_API_VERSION = KVM_GET_API_VERSION;
static const unsigned long CKVM_CREATE_VM = KVM_CREATE_VM;
static const unsigned long CKVM_CHECK_EXTENSION = KVM_CHECK_EXTENSION;
static const unsigned long CKVM_GET_VCPU_MMAP_SIZE = KVM_GET_VCPU_MMAP_SIZE;
static const unsigned long CKVM_GET_SUPPORTED_CPUID = KVM_GET_SUPPORTED_CPUID;
static const unsigned long CKVM_SET_USER_MEMORY_REGION = KVM_SET_USER_MEMORY_REGION;
static const unsigned long CKVM_CREATE_VCPU = KVM_CREATE_VCPU;
static const unsigned long CKVM_SET_CPUID2 = KVM_SET_CPUID2;
static const unsigned long CKVM_GET_REGS = KVM_GET_REGS;
static const unsigned long CKVM_SET_REGS = KVM_SET_REGS;
static const unsigned long CKVM_GET_SREGS = KVM_GET_SREGS;
static const unsigned long CKVM_SET_SREGS = KVM_SET_SREGS;
static const unsigned long CKVM_GET_XCRS = KVM_GET_XCRS;
static const unsigned long CKVM_SET_XCRS = KVM_SET_XCRS;
static const unsigned long CKVM_GET_DEBUGREGS = KVM_GET_DEBUGREGS;
static const unsigned long CKVM_SET_DEBUGREGS = KVM_SET_DEBUGREGS;
static const unsigned long CKVM_GET_VCPU_EVENTS = KVM_GET_VCPU_EVENTS;
static const unsigned long CKVM_SET_VCPU_EVENTS = KVM_SET_VCPU_EVENTS;
static const unsigned long CKVM_SET_MP_STATE = KVM_SET_MP_STATE;
static const unsigned long CKVM_GET_MP_STATE = KVM_GET_MP_STATE;
static const unsigned long CKVM_SET_TSS_ADDR = KVM_SET_TSS_ADDR;
static const unsigned long CKVM_SET_IDENTITY_MAP_ADDR = KVM_SET_IDENTITY_MAP_ADDR;
static const unsigned long CKVM_CREATE_IRQCHIP = KVM_CREATE_IRQCHIP;
static const unsigned long CKVM_CREATE_PIT2 = KVM_CREATE_PIT2;
static const unsigned long CKVM_GET_IRQCHIP = KVM_GET_IRQCHIP;
static const unsigned long CKVM_GET_LAPIC = KVM_GET_LAPIC;
static const unsigned long CKVM_GET_MSR_INDEX_LIST = KVM_GET_MSR_INDEX_LIST;
static const unsigned long CKVM_GET_MSRS = KVM_GET_MSRS;
static const unsigned long CKVM_SET_MSRS = KVM_SET_MSRS;
static const unsigned long CKVM_SET_GUEST_DEBUG = KVM_SET_GUEST_DEBUG;
static const unsigned long CKVM_TRANSLATE = KVM_TRANSLATE;
static const unsigned long CKVM_GET_STATS_FD = KVM_GET_STATS_FD;
static const unsigned long CKVM_GET_DIRTY_LOG = KVM_GET_DIRTY_LOG;
static const unsigned long CKVM_CLEAR_DIRTY_LOG = KVM_CLEAR_DIRTY_LOG;
static const unsigned long CKVM_GET_XSAVE = KVM_GET_XSAVE;
static const unsigned long CKVM_SET_XSAVE = KVM_SET_XSAVE;
static const unsigned long CKVM_GET_XSAVE2 = KVM_GET_XSAVE2;
static const unsigned long CKVM_RUN = KVM_RUN;
static const unsigned long CKVM_ENABLE_CAP = KVM_ENABLE_CAP;
static const unsigned long CKVM_SET_MSR_FILTER = KVM_X86_SET_MSR_FILTER;
static const unsigned long CKVM_COALESCE_WRITES = KVM_REGISTER_COALESCED_MMIO;
// And those of an open counter of the processor's.
static const unsigned long CKVM_COUNTER_RESET = PERF_EVENT_IOC_RESET;
static const unsigned long CKVM_COUNTER_PERIOD = PERF_EVENT_IOC_PERIOD;
static const unsigned long CKVM_COUNTER_ENABLE = PERF_EVENT_IOC_ENABLE;
static const unsigned long CKVM_COUNTER_DISABLE = PERF_EVENT_IOC_DISABLE;

// KVM_GUESTDBG_* as plain numbers of one type.
static const uint32_t CKVM_GUESTDBG_SINGLESTEP_ON = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
static const uint32_t CKVM_MSR_READ = KVM_MSR_FILTER_READ;
static const uint32_t CKVM_MSR_WRITE = KVM_MSR_FILTER_WRITE;
static const uint32_t CKVM_MSR_EXIT_REASON_FILTER = KVM_MSR_EXIT_REASON_FILTER;
static const uint32_t CKVM_MEM_LOG_WRITES = KVM_MEM_LOG_DIRTY_PAGES;
static const uint32_t CKVM_MEM_READ_ONLY = KVM_MEM_READONLY;

/// An ioctl whose argument is a pointer.
static inline int ckvm_ioctl(int fd, unsigned long request, void *_Nonnull argument) {
    int result = ioctl(fd, request, argument);
    return result < 0 ? -errno : result;
}

/// An ioctl whose argument is a number; those without an argument must be given 0.
static inline int ckvm_ioctl_number(int fd, unsigned long request, unsigned long argument) {
    int result = ioctl(fd, request, argument);
    return result < 0 ? -errno : result;
}

/// KVM_ENABLE_CAP with one argument.
static inline int ckvm_enable(int fd, uint32_t capability, uint64_t argument) {
    struct kvm_enable_cap request = {.cap = capability, .args = {argument}};
    return ckvm_ioctl(fd, CKVM_ENABLE_CAP, &request);
}

// Calls to a vCPU are counted for each thread: on some backends one costs as much as ten guest instructions, so their number is
// what a job's fixed price is made of.

/// An ioctl of a vCPU whose argument is a pointer.
int ckvm_vcpu_ioctl(int vcpu, unsigned long request, void *_Nonnull argument);

/// KVM_RUN.
int ckvm_run(int vcpu);

/// How many of the two the calling thread has made.
uint64_t ckvm_vcpu_calls(void);

/// Some model-specific registers with consecutive numbers, at most 64, and CKVM_MSR_READ, CKVM_MSR_WRITE or both.
struct ckvm_msr_range {
    uint32_t first;
    uint32_t count;
    uint32_t access;
};

/// KVM_X86_SET_MSR_FILTER with KVM_MSR_FILTER_DEFAULT_DENY: from here on the guest is denied every other access. Returns 0 or -errno; -E2BIG for more than KVM_MSR_FILTER_MAX_RANGES ranges.
int ckvm_allow_msrs(int machine, const struct ckvm_msr_range *_Nonnull ranges, uint32_t count);

/// Opens /dev/kvm.
int ckvm_open(void);

// Coalesced port writes: the kernel puts a byte that the guest writes to such a port into a ring, a page of the vCPU's run
// area, and lets the guest go on. When the ring is full a write leaves the guest as ever.

/// What a ring's page has room for. One entry stays free, so that a full ring differs from an empty one.
enum { CKVM_RING_ENTRIES = (4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio) };

/// KVM_REGISTER_COALESCED_MMIO of one port's writes of one byte; wider ones, and those across its edge, leave the guest.
static inline int ckvm_coalesce_port(int machine, uint16_t port) {
    struct kvm_coalesced_mmio_zone zone = {.addr = port, .size = 1, .pio = 1};
    return ckvm_ioctl(machine, CKVM_COALESCE_WRITES, &zone);
}

static inline int ckvm_ring_is_empty(const struct kvm_coalesced_mmio_ring *_Nonnull ring) {
    return __atomic_load_n(&ring->last, __ATOMIC_RELAXED) == __atomic_load_n(&ring->first, __ATOMIC_RELAXED);
}

/// Takes all entries out of a ring, oldest first, into two arrays of CKVM_RING_ENTRIES elements. Returns how many; or
/// -EPROTO, with the ring emptied, where an index or an entry is none that the kernel makes for such a port.
int ckvm_take_ring(
    struct kvm_coalesced_mmio_ring *_Nonnull ring, uint16_t *_Nonnull ports, uint8_t *_Nonnull values);

/// Gives up all entries of a ring.
void ckvm_empty_ring(struct kvm_coalesced_mmio_ring *_Nonnull ring);

// Kicking a vCPU out of KVM_RUN.
//
// A kick is a flag, a byte and a signal. `pending` says that somebody wants the vCPU's thread back; `immediate_exit` makes
// a KVM_RUN that is about to begin return at once; the signal makes one that has begun return. The handler stores both,
// so that a timer signal which lands just before KVM_RUN is not lost.

struct ckvm_kick {
    struct kvm_run *_Nonnull run;
    int pending;
};

/// The signal that a kick uses.
int ckvm_kick_signal(void);

/// Installs the handler, once per process, and unblocks the kick signal on this thread. Dispatch threads start with it
/// blocked.
int ckvm_prepare_thread(void);

/// Names the vCPU that kicks of this thread mean, or none.
void ckvm_set_current(struct ckvm_kick *_Nullable kick);

/// Kicks the vCPU that runs on this thread, from any thread of the process.
int ckvm_kick(struct ckvm_kick *_Nonnull kick, int thread);

/// The calling thread's id.
int ckvm_thread_id(void);

static inline int ckvm_is_pending(const struct ckvm_kick *_Nonnull kick) {
    return __atomic_load_n(&kick->pending, __ATOMIC_SEQ_CST);
}

static inline void ckvm_set_immediate_exit(struct kvm_run *_Nonnull run, int value) {
    __atomic_store_n(&run->immediate_exit, (uint8_t)value, __ATOMIC_SEQ_CST);
}

/// Takes a kick back: first the byte, then the flag, so that a kick in between is seen again and never lost.
static inline int ckvm_take_pending(struct ckvm_kick *_Nonnull kick) {
    ckvm_set_immediate_exit(kick->run, 0);
    return __atomic_exchange_n(&kick->pending, 0, __ATOMIC_SEQ_CST);
}

// A timer that kicks the thread that made it (SIGEV_THREAD_ID on CLOCK_MONOTONIC).

/// Makes a timer for the calling thread and stores its id.
int ckvm_timer_create(uintptr_t *_Nonnull timer);

/// Arms the timer for this instant of CLOCK_MONOTONIC in nanoseconds; 0 disarms it.
int ckvm_timer_arm(uintptr_t timer, uint64_t nanoseconds);

void ckvm_timer_delete(uintptr_t timer);

/// CLOCK_MONOTONIC in nanoseconds.
uint64_t ckvm_now(void);

/// The time-stamp counter: RDTSC.
uint64_t ckvm_ticks(void);

/// Whether it runs at one rate whatever the processor does: "invariant TSC", CPUID 0x80000007.
int ckvm_ticks_are_steady(void);

/// CLOCK_REALTIME in nanoseconds since 1970.
uint64_t ckvm_realtime(void);

/// CLOCK_THREAD_CPUTIME_ID of the calling thread in nanoseconds.
uint64_t ckvm_thread_time(void);

/// Anonymous private memory that takes host pages only as they are touched. Returns 0 or -errno.
int ckvm_map_memory(uint64_t size, void *_Nullable *_Nonnull address);

/// Asks that this memory is backed in pages of 4 KiB only. A kernel without huge pages refuses, and has none.
void ckvm_avoid_huge_pages(void *_Nonnull address, uint64_t size);

/// Gives the host memory behind whole pages back; they read as zeros from here on. Returns 0 or -errno.
int ckvm_give_back(void *_Nonnull address, uint64_t size);

/// Has KVM drop every mapping of some whole pages of a memory, by taking the right to write them away and giving it back; what they
/// hold stays. Nobody may touch the memory meanwhile. Returns 0 or -errno; after that the memory may not be written.
int ckvm_forget_pages(void *_Nonnull memory, uint64_t size, uint64_t offset, uint64_t count);

/// How many pages of this memory are backed now, by mincore(2). Returns a count or -errno.
int64_t ckvm_count_resident_pages(void *_Nonnull address, uint64_t size);

/// The shared run area of a vCPU. Returns 0 or -errno.
int ckvm_map_run_area(int vcpu, uint64_t size, void *_Nullable *_Nonnull address);

/// Whether these bytes, one at least, are all zeros.
static inline int ckvm_is_zero(const void *_Nonnull address, uint64_t size) {
    const unsigned char *bytes = (const unsigned char *)address;
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/// Whether two stretches of memory hold the same bytes.
static inline int ckvm_is_equal(const void *_Nonnull one, const void *_Nonnull other, uint64_t size) {
    return memcmp(one, other, size) == 0;
}

static inline void ckvm_zero(void *_Nonnull address, uint64_t size) { memset(address, 0, size); }

/// How many bytes there are before the first zero, or `limit`.
static inline uint64_t ckvm_find_zero(const void *_Nonnull address, uint64_t limit) {
    return strnlen((const char *)address, limit);
}

/// /proc/self/pagemap, which has 64 bits for each page of this process; opened by the first call, and never closed, for a worker
/// that has put itself into its sandbox opens nothing more. Returns a descriptor or -errno.
int ckvm_pagemap(void);

void ckvm_unmap(void *_Nonnull address, uint64_t size);
void ckvm_close(int fd);

/// Reads from a statistics descriptor or from the page map. Returns the bytes read or -errno.
int64_t ckvm_read_at(int fd, void *_Nonnull buffer, uint64_t count, uint64_t offset);

// The processor's counter of instructions that the guest retires on the calling thread (perf_event_open).

/// Opens the counter, off, for the calling thread: guest only, pinned, its overflow sending the kick signal to this thread.
/// Returns a descriptor or -errno.
int ckvm_open_instruction_counter(void);

/// Counts from zero, and kicks after this many instructions, not 0. Returns 0 or -errno.
int ckvm_start_instruction_counter(int fd, uint64_t period);

/// Stops counting. Returns 0 or -errno.
int ckvm_stop_instruction_counter(int fd);

/// Stores the count. Returns 0, or -EAGAIN when the counter was not on the processor all the time, or -errno.
int ckvm_read_instruction_counter(int fd, uint64_t *_Nonnull count);
