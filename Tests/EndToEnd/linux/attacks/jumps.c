// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Jumps to every byte of the page that SYSCALL leads to and of the shared object behind it, with registers that are random, or
// that could be right: RCX leads back, RAX is the number of a call. The process may end at any of them; whoever runs this starts it
// again behind that.
//
//   jumps FIRST LAST      the bytes' numbers; prints each that it has begun with

#include "survive.h"

#define CALLS 0x7FFFFFF07000
#define OBJECT 0x7FFFFFF19000

static void landing(void) { siglongjmp(back, 2); }

int main(int argc, char **argv) {
    long first = argc > 1 ? atol(argv[1]) : 0, last = argc > 2 ? atol(argv[2]) : 0;
    survive_faults();
    static char room[1 << 16];
    for (long n = first; n < last; n++) {
        uint64_t target = n < 0x140 ? CALLS + n : OBJECT + (n - 0x140);
        state = 88172645463325252 + n * 1000003;
        dprintf(1, "%ld\n", n);
        for (volatile int round = 0; round < 6; round++) {
            uint64_t registers[16];
            for (int i = 0; i < 16; i++) {
                registers[i] = chance();
                if (chance() & 1) registers[i] = (uint64_t)room + chance() % sizeof room;
            }
            registers[0] = chance() % 470;
            registers[1] = round & 1 ? (uint64_t)landing : registers[1];
            // All flags but TF, which is another attack.
            registers[4] = chance() & 0x244CD5 | 0x202;
            registers[11] = round & 2 ? 0x202 : chance();
            // Calls that end or stop the process, by their right name.
            switch (registers[0]) { case 60: case 231: case 34: case 130: case 15: case 56: case 57: case 58: case 435: registers[0] = 39; }
            if (round == 4) registers[0] = 0, registers[7] = 0, registers[6] = chance();
            if (round == 5) registers[0] = 1, registers[7] = 1, registers[6] = 0x7FFFFFF00000, registers[2] = 0x1B000;
            alarm(1);
            if (TRYING()) jump_with(registers, target, 1);
            alarm(0);
        }
    }
    puts("through");
    return 0;
}
