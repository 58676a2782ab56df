// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Bare system calls that do what the project does, and nothing else: no budgets, no devices, no result. Each function
// returns 0 or a count, or -errno, or FLOOR_UNEXPECTED when the guest did something else than its program says.

#pragma once

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#define FLOOR_UNEXPECTED (-100000)

/// An open /dev/kvm, and the CPUID that it supports.
struct floor_kvm {
    int descriptor;
    int run_bytes;
    struct kvm_cpuid2 *_Nullable cpuid;
};

/// One virtual machine with one vCPU.
struct floor_machine {
    int machine;
    int vcpu;
    struct kvm_run *_Nullable run;
    uint64_t run_bytes;
    uint8_t *_Nullable memory;
    uint64_t memory_bytes;
};

int floor_open(struct floor_kvm *_Nonnull kvm);
void floor_close(struct floor_kvm *_Nonnull kvm);

int floor_make(const struct floor_kvm *_Nonnull kvm, uint64_t memory_bytes, struct floor_machine *_Nonnull machine);
void floor_destroy(struct floor_machine *_Nonnull machine);

/// Copies bytes into guest memory; the caller keeps to its bounds.
void floor_write(
    struct floor_machine *_Nonnull machine, uint64_t address, const void *_Nonnull bytes, uint64_t count);

/// Gives the vCPU its first state; the APIC base stays as KVM made it.
int floor_start(
    struct floor_machine *_Nonnull machine, const struct kvm_sregs *_Nonnull sregs, const struct kvm_regs *_Nonnull regs);

/// Which registers come along with each exit: a mask of KVM_SYNC_X86_*.
void floor_synchronise(struct floor_machine *_Nonnull machine, uint64_t registers);

/// Runs until HLT or a write to port 0xF4. Stores what was written to port 0xE9, as far as it fits.
/// Returns the number of port writes.
int64_t floor_run(struct floor_machine *_Nonnull machine, uint8_t *_Nonnull output, uint64_t capacity);

/// Enters the guest this often under KVM_GUESTDBG_SINGLESTEP, and reads the vCPU's count of emulated instructions after
/// each if `statistics` is not negative: a descriptor of KVM_GET_STATS_FD.
int floor_step(struct floor_machine *_Nonnull machine, uint64_t count, int statistics);

/// Runs a guest from its start to its write to port 0xF4 this often, each time after zeroing these bytes: all that it writes,
/// but for what the processor marks in page tables. The registers go through the run area.
int floor_cycle(
    struct floor_machine *_Nonnull machine, const struct kvm_regs *_Nonnull regs, uint64_t written, uint64_t written_bytes,
    uint64_t count);

/// A descriptor of the vCPU's statistics.
int floor_statistics(struct floor_machine *_Nonnull machine);

/// Runs a guest whose trap flag is set until its stub has written to this port this often; `settles` completes each write
/// by a run with immediate_exit, after which registers are final.
int floor_trap(struct floor_machine *_Nonnull machine, uint64_t count, uint16_t port, int settles);

/// Starts a program with its output in a pipe, reads that to its end and waits for the process: `posix_spawn`, which does
/// not copy page tables as fork does. Returns the bytes read.
int64_t floor_spawn(const char *_Nonnull path, uint8_t *_Nonnull output, uint64_t capacity);

/// The same by fork and execve.
int64_t floor_fork(const char *_Nonnull path, uint8_t *_Nonnull output, uint64_t capacity);

/// The processor time of another process in nanoseconds.
int64_t floor_process_time(int process);

// The guests in guests.S and guests_goals.S.
#define FLOOR_GUEST(name) \
    extern const uint8_t guest_##name[], guest_##name##_end[]; \
    static inline const uint8_t *_Nonnull floor_##name(void) { return guest_##name; } \
    static inline size_t floor_##name##_bytes(void) { return (size_t)(guest_##name##_end - guest_##name); }
FLOOR_GUEST(hello)
FLOOR_GUEST(steps)
FLOOR_GUEST(calls16)
FLOOR_GUEST(talk)
FLOOR_GUEST(touch)
FLOOR_GUEST(scatter)
FLOOR_GUEST(compute16)
FLOOR_GUEST(compute64)
FLOOR_GUEST(writes16)
FLOOR_GUEST(writes64)
FLOOR_GUEST(console16)
FLOOR_GUEST(chatter16)
FLOOR_GUEST(chatter64)
FLOOR_GUEST(polite16)
FLOOR_GUEST(polite64)
FLOOR_GUEST(write_mebibyte)
FLOOR_GUEST(print16)
FLOOR_GUEST(print64)
