// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// floor-worker PATH [NANOSECONDS]: the worker in C that kvmjobd is held against; it may poll for so long before it waits.

#include "socket_floor.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **arguments) {
    if (count < 2 || count > 3) {
        fputs("usage: floor-worker PATH [NANOSECONDS]\n", stderr);
        return 64;
    }
    // Whoever starts it may have had all signals blocked, as threads of Dispatch have.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int result = floor_serve(arguments[1], count == 3 ? strtoull(arguments[2], NULL, 10) : 0);
    fprintf(stderr, "floor-worker: %s\n", strerror(-result));
    return 1;
}
