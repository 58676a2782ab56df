// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// What every program does: standard streams, arguments, the environment, an exit status.

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    printf("hello, %s\n", argc > 1 ? argv[1] : "world");
    printf("LANG is %s, standard output is %sa terminal\n", getenv("LANG"), isatty(1) ? "" : "not ");
    fprintf(stderr, "%d arguments\n", argc);
    int sum = 0, byte;
    while ((byte = getchar()) != EOF) sum += byte;
    printf("the bytes of the input are %d in sum, %.3f on %s\n", sum, sum / 7.0, "a seventh");
    return 3;
}
