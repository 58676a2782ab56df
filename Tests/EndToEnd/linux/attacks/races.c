// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Two threads change what a name means while others go through it: by renaming links and directories. Nobody may come upon
// anything but the two files that are meant, one of them or none.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_bool over;
static const char *outside;

static void *links(void *argument) {
    while (!over) {
        symlink(outside, "race/new");
        rename("race/new", "race/name");
        symlink("inside", "race/new2");
        rename("race/new2", "race/name");
    }
    return argument;
}

static void *directories(void *argument) {
    while (!over) {
        rename("race/one/two", "race/two");
        rename("race/two", "race/one/two");
        symlink("..", "race/three");
        unlink("race/three");
    }
    return argument;
}

int main(int argc, char **argv) {
    outside = argc > 1 ? argv[1] : "/etc/shadow";
    mkdir("race", 0700), mkdir("race/one", 0700), mkdir("race/one/two", 0700);
    int fd = open("race/inside", O_CREAT | O_WRONLY, 0600);
    write(fd, "inside", 6);
    close(fd);
    pthread_t threads[3];
    pthread_create(&threads[0], NULL, links, NULL);
    pthread_create(&threads[1], NULL, links, NULL);
    pthread_create(&threads[2], NULL, directories, NULL);
    long opened = 0, failed = 0, strange = 0;
    for (int i = 0; i < 2000; i++) {
        char bytes[64] = "";
        fd = open(i & 1 ? "race/name" : "race/one/two/../../name", O_RDONLY);
        if (fd < 0) { failed++; continue; }
        opened++;
        if (read(fd, bytes, 63) != 6 || strcmp(bytes, "inside")) strange++, printf("read %s\n", bytes);
        close(fd);
        fd = open("race/one/two/../../../../../../../secret", O_RDONLY);
        if (fd >= 0) puts("came out"), close(fd);
        sched_yield();
    }
    over = 1;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    printf("all tried %d, strange %ld\n", opened + failed == 2000, strange);
    return 0;
}
