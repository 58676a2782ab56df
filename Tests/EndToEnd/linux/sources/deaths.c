// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Programs that end by a signal, each by the one that its first argument names.

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile int zero;

static int deeper(int depth) {
    volatile char room[4096];
    room[0] = (char)depth;
    return deeper(depth + 1) + room[0];
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    printf("ends by %s\n", how);
    fflush(stdout);
    if (!strcmp(how, "null")) *(volatile int *)0x18 = 1;
    if (!strcmp(how, "divide")) return 10000 / zero;
    if (!strcmp(how, "undefined")) __builtin_trap();
    if (!strcmp(how, "overflow")) return deeper(0);
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "terminate")) raise(SIGTERM);
    if (!strcmp(how, "kill")) kill(getpid(), SIGKILL);
    if (!strcmp(how, "alarm")) { ualarm(1000, 0); pause(); }
    if (!strcmp(how, "breakpoint")) __asm__ volatile("int3");
    if (!strcmp(how, "jump")) ((void (*)(void))0x123456)();
    return 0;
}
