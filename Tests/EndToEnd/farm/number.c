// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
//
// number MILLISECONDS N: sleeps, and prints N. A job that takes time and next to no processor.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **words) {
    if (count != 3) return 2;
    usleep((unsigned)atoi(words[1]) * 1000);
    return printf("number %s\n", words[2]) < 0;
}
