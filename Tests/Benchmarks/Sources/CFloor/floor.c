// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(void) { return -errno; }

int floor_open(struct floor_kvm *kvm) {
    const int entries = 256;
    kvm->descriptor = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm->descriptor < 0) return fail();
    kvm->run_bytes = ioctl(kvm->descriptor, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (kvm->run_bytes < 0) return fail();
    kvm->cpuid = calloc(1, sizeof *kvm->cpuid + entries * sizeof kvm->cpuid->entries[0]);
    kvm->cpuid->nent = entries;
    return ioctl(kvm->descriptor, KVM_GET_SUPPORTED_CPUID, kvm->cpuid) < 0 ? fail() : 0;
}

void floor_close(struct floor_kvm *kvm) {
    free(kvm->cpuid);
    close(kvm->descriptor);
}

int floor_make(const struct floor_kvm *kvm, uint64_t memory_bytes, struct floor_machine *machine) {
    machine->machine = ioctl(kvm->descriptor, KVM_CREATE_VM, 0);
    if (machine->machine < 0) return fail();
    void *memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return fail();
    struct kvm_userspace_memory_region region = {.memory_size = memory_bytes, .userspace_addr = (uintptr_t)memory};
    if (ioctl(machine->machine, KVM_SET_USER_MEMORY_REGION, &region) < 0) return fail();
    machine->vcpu = ioctl(machine->machine, KVM_CREATE_VCPU, 0);
    if (machine->vcpu < 0) return fail();
    void *run = mmap(NULL, (size_t)kvm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, machine->vcpu, 0);
    if (run == MAP_FAILED) return fail();
    if (ioctl(machine->vcpu, KVM_SET_CPUID2, kvm->cpuid) < 0) return fail();
    machine->memory = memory;
    machine->memory_bytes = memory_bytes;
    machine->run = run;
    machine->run_bytes = (uint64_t)kvm->run_bytes;
    return 0;
}

void floor_destroy(struct floor_machine *machine) {
    munmap(machine->run, machine->run_bytes);
    close(machine->vcpu);
    close(machine->machine);
    munmap(machine->memory, machine->memory_bytes);
}

void floor_write(struct floor_machine *machine, uint64_t address, const void *bytes, uint64_t count) {
    memcpy(machine->memory + address, bytes, count);
}

int floor_start(struct floor_machine *machine, const struct kvm_sregs *sregs, const struct kvm_regs *regs) {
    struct kvm_sregs initial;
    if (ioctl(machine->vcpu, KVM_GET_SREGS, &initial) < 0) return fail();
    struct kvm_sregs start = *sregs;
    start.apic_base = initial.apic_base;
    if (ioctl(machine->vcpu, KVM_SET_SREGS, &start) < 0) return fail();
    return ioctl(machine->vcpu, KVM_SET_REGS, regs) < 0 ? fail() : 0;
}

void floor_synchronise(struct floor_machine *machine, uint64_t registers) { machine->run->kvm_valid_regs = registers; }

int64_t floor_run(struct floor_machine *machine, uint8_t *output, uint64_t capacity) {
    struct kvm_run *run = machine->run;
    uint64_t written = 0;
    for (int64_t writes = 0;; writes++) {
        if (ioctl(machine->vcpu, KVM_RUN, 0) < 0) return fail();
        if (run->exit_reason == KVM_EXIT_HLT) return writes;
        if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT) return FLOOR_UNEXPECTED;
        if (run->io.port == 0xF4) return writes;
        if (run->io.port == 0xE9 && written < capacity) {
            output[written++] = *((uint8_t *)run + run->io.data_offset);
        }
    }
}

int floor_statistics(struct floor_machine *machine) {
    int descriptor = ioctl(machine->vcpu, KVM_GET_STATS_FD, 0);
    return descriptor < 0 ? fail() : descriptor;
}

int floor_step(struct floor_machine *machine, uint64_t count, int statistics) {
    struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
    if (ioctl(machine->vcpu, KVM_SET_GUEST_DEBUG, &debug) < 0) return fail();
    struct kvm_stats_header header;
    if (statistics >= 0 && pread(statistics, &header, sizeof header, 0) != sizeof header) return fail();
    for (uint64_t step = 0; step < count; step++) {
        if (ioctl(machine->vcpu, KVM_RUN, 0) < 0) return fail();
        if (machine->run->exit_reason != KVM_EXIT_DEBUG) return FLOOR_UNEXPECTED;
        uint64_t value;
        if (statistics >= 0 && pread(statistics, &value, 8, header.data_offset) != 8) return fail();
    }
    return 0;
}

int floor_trap(struct floor_machine *machine, uint64_t count, uint16_t port, int settles) {
    struct kvm_run *run = machine->run;
    for (uint64_t step = 0; step < count; step++) {
        if (ioctl(machine->vcpu, KVM_RUN, 0) < 0) return fail();
        if (run->exit_reason != KVM_EXIT_IO || run->io.port != port) return FLOOR_UNEXPECTED;
        if (!settles) continue;
        run->immediate_exit = 1;
        int result = ioctl(machine->vcpu, KVM_RUN, 0);
        run->immediate_exit = 0;
        if (result >= 0 || errno != EINTR) return FLOOR_UNEXPECTED;
    }
    return 0;
}

int floor_cycle(
    struct floor_machine *machine, const struct kvm_regs *regs, uint64_t written, uint64_t written_bytes, uint64_t count) {
    struct kvm_run *run = machine->run;
    for (uint64_t cycle = 0; cycle < count; cycle++) {
        memset(machine->memory + written, 0, written_bytes);
        run->s.regs.regs = *regs;
        run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
        if (ioctl(machine->vcpu, KVM_RUN, 0) < 0) return fail();
        if (run->exit_reason != KVM_EXIT_IO || run->io.port != 0xF4) return FLOOR_UNEXPECTED;
        run->immediate_exit = 1;
        int result = ioctl(machine->vcpu, KVM_RUN, 0);
        run->immediate_exit = 0;
        if (result >= 0 || errno != EINTR) return FLOOR_UNEXPECTED;
        if (machine->memory[written + written_bytes - 4096] != 1) return FLOOR_UNEXPECTED;
    }
    return 0;
}

/// Reads a process's output to its end and waits for it. `process` may be -errno, and is what comes back then.
static int64_t collect(int pipe, pid_t process, uint8_t *output, uint64_t capacity) {
    uint64_t total = 0;
    while (process > 0) {
        ssize_t got = read(pipe, output + total, capacity - total);
        if (got <= 0) break;
        total += (uint64_t)got;
    }
    close(pipe);
    if (process < 0) return process;
    int status;
    if (waitpid(process, &status, 0) < 0) return fail();
    return status == 0 ? (int64_t)total : FLOOR_UNEXPECTED;
}

int64_t floor_spawn(const char *path, uint8_t *output, uint64_t capacity) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return fail();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    char *const arguments[] = {(char *)path, NULL};
    char *const environment[] = {NULL};
    pid_t process;
    int result = posix_spawn(&process, path, &actions, NULL, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    return collect(ends[0], result == 0 ? process : -result, output, capacity);
}

int64_t floor_fork(const char *path, uint8_t *output, uint64_t capacity) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return fail();
    char *const arguments[] = {(char *)path, NULL};
    char *const environment[] = {NULL};
    pid_t process = fork();
    if (process == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execve(path, arguments, environment);
        _exit(127);
    }
    int result = process < 0 ? fail() : process;
    close(ends[1]);
    return collect(ends[0], result, output, capacity);
}

int64_t floor_process_time(int process) {
    clockid_t clock;
    struct timespec time;
    int result = clock_getcpuclockid(process, &clock);
    if (result != 0) return -result;
    if (clock_gettime(clock, &time) < 0) return fail();
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}
