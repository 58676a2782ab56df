// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Games with memory: code that changes itself, rights that change under a running thread, mappings that come and go, stack pointers
// that point anywhere while something faults, jumps to addresses that are none.

#include "survive.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

static atomic_bool over;
static char *area;

static void *changes(void *argument) {
    for (int i = 0; !over; i++) {
        mprotect(area, 65536, i & 1 ? PROT_NONE : PROT_READ | PROT_WRITE);
        if (i % 7 == 0) mmap(area, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (i % 11 == 0) munmap(area + 4096, 8192);
        if (i % 13 == 0) madvise(area, 65536, MADV_DONTNEED);
    }
    return argument;
}

static void rights(void) {
    area = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t thread;
    sigset_t set;
    pthread_create(&thread, NULL, changes, NULL);
    volatile long faults = 0;
    for (volatile int i = 0; i < 800; i++) {
        if (TRYING()) ((volatile char *)area)[i * 4096L % 65536]++;
        else faults++;
        if (i % 20 == 0) sched_yield();
    }
    over = 1;
    pthread_join(thread, NULL);
    memset(counts, 0, sizeof counts);
    puts("rights changed under a thread: alive");
}

static void itself(void) {
    unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long sum = 0;
    for (int i = 0; i < 2000; i++) {
        unsigned char body[] = {0xB8, (unsigned char)i, 0, 0, 0, 0xC3};
        memcpy(code, body, sizeof body);
        sum += ((int (*)(void))code)();
    }
    // Code that writes the instruction behind its own: mov byte [rip + 1], 42; mov al, 0; ret
    unsigned char next[] = {0xC6, 0x05, 1, 0, 0, 0, 42, 0xB0, 0, 0xC3};
    memcpy(code + 100, next, sizeof next);
    sum += ((unsigned char (*)(void))(code + 100))();
    printf("code that changes itself: %ld\n", sum);
    for (int i = 0; i < 200; i++) {
        mprotect(code, 4096, PROT_READ | PROT_WRITE);
        code[1] = (unsigned char)i;
        mprotect(code, 4096, PROT_READ | PROT_EXEC);
        sum += ((int (*)(void))code)();
    }
    mprotect(code, 4096, PROT_READ);
    if (TRYING()) ((void (*)(void))code)(), puts("ran without the right to");
    printf("and rights in turn: %ld\n", sum);
    counts[SIGSEGV] = 0;
}

// A fault, a call and a signal with RSP at any place.
int main(int argc, char **argv);

static void stacks(void) {
    uint64_t places[] = {0, 8, 0x7FFFFFF00000, 0x7FFFFFF06FF8, 0x7FFFFFF07000, 0x7FFFFFF08100, 0x7FFFFFFFFFF8, 0x800000000000,
        0xFFFF800000000000, 0xFFFFFFFFFFFFFFF8, 0x8000000000000000, 0x1000, (uint64_t)main, (uint64_t)counts + 1, chance(), chance()};
    for (volatile size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (TRYING()) __asm__ volatile("mov %0, %%rsp\n\tud2" : : "r"(places[i]) : "memory");
        if (TRYING()) __asm__ volatile("mov %0, %%rsp\n\tpush %%rax\n\tud2" : : "r"(places[i]) : "memory");
        if (TRYING()) __asm__ volatile("mov %0, %%rsp\n\tmov $39, %%eax\n\tsyscall\n\tud2" : : "r"(places[i]) : "memory", "rax", "rcx", "r11");
        if (TRYING()) __asm__ volatile("mov %0, %%rsp\n\tint3\n\tud2" : : "r"(places[i]) : "memory");
    }
    told("stack pointers");
}

static void targets(void) {
    uint64_t places[] = {0, 0x800000000000, 0x7FFFFFFFFFFF, 0x7FFFFFFFF000, 0xFFFF800000000000, 0xFFFFFFFFFF600000, 0xFFFFFFFFFFFFFFFF,
        0x8000000000000000, 0x7FFFFFF00000, 0x7FFFFFF05000, 0x7FFFFFF06000, 0x7FFFFFF08000, 0x7FFFFFF1B000, chance(), chance(), chance()};
    for (volatile size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (TRYING()) __asm__ volatile("jmp *%0" : : "r"(places[i]) : "memory");
        if (TRYING()) __asm__ volatile("push %0\n\tret" : : "r"(places[i]) : "memory");
        // SYSCALL by hand, with the way back given.
        uint64_t registers[16] = {39, places[i], 0, 0, 0x202};
        registers[11] = 0x202;
        if (TRYING()) jump_with(registers, 0x7FFFFFF07000, 1);
        if (TRYING()) jump_with(registers, 0x7FFFFFF07020, 1);
    }
    told("targets");
}

// sigreturn with frames of garbage, and with one in which each word is changed.
static void frames(void) {
    static uint64_t frame[256];
    for (volatile int i = 0; i < 300; i++) {
        for (int n = 0; n < 256; n++) frame[n] = i & 1 ? chance() : (uint64_t)frame + chance() % 2048;
        if (TRYING())
            __asm__ volatile("mov %0, %%rsp\n\tmov $15, %%eax\n\tsyscall\n\tud2" : : "r"(frame) : "memory", "rax", "rcx", "r11");
        survive_faults();
    }
    told("frames of signals");
}

static void bases(void) {
    uint64_t places[] = {0, 0x7FFFFFFFFFFF, 0x800000000000, 0xFFFF800000000000, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFF00000};
    uint64_t fs;
    syscall(SYS_arch_prctl, 0x1003, &fs);
    for (int i = 0; i < 6; i++) {
        long value, way = 0x1001;
        for (; way <= 0x1002; way++) {
            // Without the library, which needs FS; it is put back in the same breath.
            __asm__ volatile("mov $158, %%eax\n\tsyscall" : "=a"(value) : "D"(way), "S"(places[i]) : "rcx", "r11", "memory");
            long ignored;
            __asm__ volatile("mov $158, %%eax\n\tsyscall" : "=a"(ignored) : "D"(0x1002L), "S"(fs) : "rcx", "r11", "memory");
            if (way == 0x1001) printf("GS base %lx: %s\n", places[i], value ? "refused" : "set");
            else printf("FS base %lx: %s\n", places[i], value ? "refused" : "set");
        }
    }
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    survive_faults();
    // Random frames can block the very signals that this is kept alive by.
    if (argc > 1) return frames(), 0;
    itself();
    stacks();
    targets();
    bases();
    rights();
    puts("through");
    return 0;
}
