// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Reads, writes and executes each page of the system area. Prints what of it was possible; reading must show nothing of anybody
// else.

#include "survive.h"

#define FIRST 0x7FFFFFF00000
#define BEYOND 0x7FFFFFF1B000

static int tries(uint64_t page, int how) {
    volatile unsigned char *byte = (unsigned char *)page;
    static volatile unsigned char value;
    if (!TRYING()) return 0;
    if (how == 0) value = byte[4095];
    if (how == 1) byte[4000] = byte[4000];
    if (how == 2) byte[4001] = 0xC3, ((void (*)(void))(page + 4001))();
    return 1;
}

int main(void) {
    survive_faults();
    for (uint64_t page = FIRST - 0x3000; page < BEYOND + 0x5000; page += 4096) {
        int reads = tries(page, 0), writes = tries(page, 1), runs = writes && tries(page, 2);
        if (!reads && !writes && !runs) continue;
        long others = 0;
        for (int i = 0; i < 4096; i++) others += ((volatile unsigned char *)page)[i] != 0;
        printf("%lx %s%s%s\n", page, reads ? "r" : "-", writes ? "w" : "-", runs ? "x" : "-");
        (void)others;
    }
    // As a place for what calls give, and as mappings.
    printf("getcwd there: %d\n", syscall(79, FIRST + 0x5000, 4096) > 0);
    printf("munmap: %d\n", munmap((void *)FIRST, BEYOND - FIRST));
    printf("mprotect: %d\n", mprotect((void *)FIRST, BEYOND - FIRST, PROT_READ | PROT_WRITE | PROT_EXEC));
    printf("mmap over it: %d\n", mmap((void *)FIRST, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
    printf("madvise: %d\n", madvise((void *)FIRST, BEYOND - FIRST, MADV_DONTNEED));
    printf("mremap: %d\n", mremap((void *)0x7FFFFFF08000, 4096, 8192, MREMAP_MAYMOVE) != MAP_FAILED);
    printf("beyond the half: %d\n", mmap((void *)0x7FFFFFFFF000, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
    return 0;
}
