// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
//
// One guest image, run again and again in one virtual machine by bare system calls: what a worker is measured against.
// No budgets, no devices, no results; and it knows what a worker has to find out, which pages the guest writes. What a
// worker keeps from the next job it keeps too: memory, registers, x87, SSE and AVX state, XCR0 and debug registers are
// brought back before every job, and the guest cannot write other model-specific registers.
#pragma once

#include <linux/kvm.h>
#include <stdint.h>

/// The guest left KVM_RUN in a way that this loop does not serve, such as an exception or memory that is not there.
#define BARE_LOOP_UNSERVED (-100000)
/// Two jobs ended differently, or wrote different pages.
#define BARE_LOOP_DIFFERED (-100001)
/// This kernel lacks what the loop is made of.
#define BARE_LOOP_UNSUPPORTED (-100002)

struct bare_loop;

/// How every job of a loop ended.
struct bare_end {
    /// Whether it wrote to the exit port; otherwise it halted.
    int exited;
    /// What it wrote there.
    uint32_t code;
    /// Bytes that it wrote to COM1 and to the debug console.
    uint64_t output_bytes;
};

struct bare_tally {
    uint64_t jobs;
    uint64_t nanoseconds;
    struct bare_end end;
};

/// Makes a machine with zeroed memory. Returns 0, -errno or one of the numbers above; the caller destroys the loop.
int bare_loop_make(uint64_t memory_bytes, struct bare_loop *_Nullable *_Nonnull loop);
void bare_loop_destroy(struct bare_loop *_Nonnull loop);

/// Puts bytes where every job finds them. Returns 0, or -EFAULT outside memory.
int bare_loop_load(struct bare_loop *_Nonnull loop, uint64_t address, const void *_Nonnull bytes, uint64_t count);

/// The state in which every job starts; the APIC base stays as KVM made it. `extended` turns on x87, SSE and AVX state
/// in CR4 and XCR0 as far as they are there. Returns 0 or -errno.
int bare_loop_start(
    struct bare_loop *_Nonnull loop, const struct kvm_regs *_Nonnull regs, const struct kvm_sregs *_Nonnull sregs,
    int extended);

/// Runs jobs, one at least, until this time is over; blocks the calling thread, for ever if the guest does not end by
/// itself. Returns 0, -errno or one of the numbers above.
int bare_loop_run(struct bare_loop *_Nonnull loop, uint64_t nanoseconds, struct bare_tally *_Nonnull tally);
