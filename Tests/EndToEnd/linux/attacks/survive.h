// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// What the attacks on the processor share: faults that are survived, numbers that are random and the same on each run, and
// registers filled with those before a jump.

#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile sig_atomic_t caught;
static long counts[65];
static uint64_t state = 88172645463325252;

static uint64_t chance(void) {
    state ^= state << 13, state ^= state >> 7;
    return state ^= state << 17;
}

static void jump_back(int number) {
    caught = number;
    counts[number]++;
    siglongjmp(back, 1);
}

// A handler on a stack of its own: the stack pointer can be anything when it is called.
static void survive_faults(void) {
    stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_handler = jump_back, .sa_flags = SA_ONSTACK | SA_NODEFER};
    int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGALRM};
    for (int i = 0; i < 7; i++) sigaction(numbers[i], &action, NULL);
}

// Whether what follows is run; false when it has faulted. Flags and the direction are put right again.
#define TRYING() (!sigsetjmp(back, 1) || (({ __asm__ volatile("cld"); }), 0))

// A fault is what every attempt may end in; whoever runs this judges the rest.
static void told(const char *what) {
    printf("%s:", what);
    for (int i = 0; i < 65; i++) if (counts[i]) printf(" %ld x signal %d", counts[i], i);
    puts("");
    memset(counts, 0, sizeof counts);
    fflush(stdout);
}

// All general registers but RSP, and the flags, from an array of 16 words (RAX first, RFLAGS in the place of RSP); then a jump.
static void jump_with(const uint64_t *registers, uint64_t target, int keeps_stack) {
    static uint64_t where, stack, given[16];
    memcpy(given, registers, sizeof given);
    where = target;
    stack = keeps_stack;
    __asm__ volatile(
        "mov %%rsp, %%rcx\n\t"
        "pushq 32(%[g])\n\tpopfq\n\t"
        "mov 0(%[g]), %%rax\n\tmov 8(%[g]), %%rcx\n\tmov 16(%[g]), %%rdx\n\tmov 24(%[g]), %%rbx\n\t"
        "mov 40(%[g]), %%rbp\n\tmov 48(%[g]), %%rsi\n\tmov 64(%[g]), %%r8\n\tmov 72(%[g]), %%r9\n\t"
        "mov 80(%[g]), %%r10\n\tmov 88(%[g]), %%r11\n\tmov 96(%[g]), %%r12\n\tmov 104(%[g]), %%r13\n\t"
        "mov 112(%[g]), %%r14\n\tmov 120(%[g]), %%r15\n\tmov 56(%[g]), %%rdi\n\t"
        "jmp *%[w]"
        : : [g] "D"(given), [w] "m"(where) : "memory", "cc");
}
