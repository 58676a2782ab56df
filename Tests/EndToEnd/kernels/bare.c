// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// A kernel that is started bare, in the mode of its class: it has a stack, zeros in .bss, a GDT that works, and in long mode page
// tables that reach memory which it was not loaded to.

#include "console.h"

static volatile char zeros[0x12345];
static const char greeting[] = "bare";
char *volatile far = (char *)0x700000;

static inline void reload_segments(void) { __asm__ volatile("mov %%ds, %%eax; mov %%eax, %%ds; mov %%eax, %%ss" : : : "eax"); }

void _start(void) {
    for (u32 index = 0; index < sizeof zeros; index++)
        if (zeros[index]) leave(1);
    reload_segments();
    *far = 7;
    put(greeting);
    put_byte(' ');
    put_number(sizeof(void *) * 8);
    put_byte(' ');
    put_number(*far);
    put_byte('\n');
    leave(42);
}
