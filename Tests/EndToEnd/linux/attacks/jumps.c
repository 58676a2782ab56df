// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Jumps to every byte of the page that SYSCALL leads to, and to each third of the shared object behind it, with registers that are random, or
// that could be right: RCX leads back, RAX is the number of a call. The process may end at any of them; whoever runs this starts it
// again behind that.
//
//   jumps FIRST LAST      the bytes' numbers; prints each that it has begun with

#include "survive.h"
#include <sys/syscall.h>
#include <sys/time.h>

#define CALLS 0x7FFFFFF07000
#define OBJECT 0x7FFFFFF19000

// A jump can end in a call that moves FS, which the library's own longjmp needs: this one puts it back and needs none of it.
static void *place[5];
static uint64_t own_fs;

static void land(int number) {
    long ignored;
    __asm__ volatile("syscall" : "=a"(ignored) : "a"(158L), "D"(0x1002L), "S"(own_fs) : "rcx", "r11", "memory");
    __builtin_longjmp(place, 1);
}

static void landing(void) { land(0); }

static void survive_all(void) {
    stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_handler = land, .sa_flags = SA_ONSTACK | SA_NODEFER};
    int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGALRM};
    for (int i = 0; i < 7; i++) sigaction(numbers[i], &action, NULL);
}

int main(int argc, char **argv) {
    long first = argc > 1 ? atol(argv[1]) : 0, last = argc > 2 ? atol(argv[2]) : 0;
    syscall(SYS_arch_prctl, 0x1003, &own_fs);
    survive_all();
    static char room[1 << 16];
    for (long n = first; n < last; n++) {
        uint64_t target = n < 0x100 ? CALLS + n : OBJECT + (n - 0x100) * 3;
        state = 88172645463325252 + n * 1000003;
        dprintf(1, "%ld\n", n);
        for (volatile int round = n < 0x100 ? 0 : 4; round < 6; round++) {
            uint64_t registers[16];
            for (int i = 0; i < 16; i++) {
                registers[i] = chance();
                if (chance() & 1) registers[i] = (uint64_t)room + chance() % sizeof room;
            }
            registers[0] = chance() % 470;
            registers[1] = round & 1 ? (uint64_t)landing : registers[1];
            // All flags but TF and AC: with AC this very program would fault at its next word.
            registers[4] = chance() & 0x204CD5 | 0x202;
            registers[11] = round & 2 ? 0x202 : chance() & ~0x40100ULL;
            // Calls that end or stop the process, by their right name.
            switch (registers[0]) { case 60: case 231: case 34: case 130: case 15: case 56: case 57: case 58: case 435: registers[0] = 39; }
            if (round == 4) registers[0] = 0, registers[7] = 0, registers[6] = chance();
            if (round == 5) registers[0] = 1, registers[7] = 1, registers[6] = 0x7FFFFFF00000, registers[2] = 0x1B000;
            struct itimerval soon = {.it_value = {.tv_usec = 10000}}, never = {0};
            setitimer(ITIMER_REAL, &soon, NULL);
            if (!__builtin_setjmp(place)) jump_with(registers, target, 1);
            __asm__ volatile("cld" ::: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory");
            setitimer(ITIMER_REAL, &never, NULL);
        }
    }
    puts("through");
    return 0;
}
