// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
//
// The smallest job that a process can be: compiled with -static when the `job` benchmark starts.
#include <stdio.h>

int main(void) {
    puts("hello");
    return 0;
}
