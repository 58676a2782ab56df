// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Programs that take all there is of one thing, each until it is refused or ended. What was got is told first where a program
// is to survive being refused.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define MOST 3000000
#define NAMES 4000

static void told(const char *what, long count) {
    printf("%s: %ld, then %s\n", what, count, strerrorname_np(errno) ?: "nothing");
    fflush(stdout);
}

static void forks(void) {
    long count = 0;
    for (; count < 1000; count++) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) for (;;) fork();
    }
    told("forks", count);
    errno = 0;
    told("vforks", syscall(SYS_vfork));
    errno = 0;
    told("clones without memory in common", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    char *const words[] = {"sh", NULL};
    errno = 0;
    execv("/bin/sh", words);
    told("execs", 0);
}

static void *waits(void *argument) { return argument + pause(); }

static void threads(void) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    long count = 0;
    for (pthread_t thread; count < 100000; count++)
        if ((errno = pthread_create(&thread, &small, waits, NULL))) break;
    told("threads", count);
}

static void *spins(void *argument) {
    for (;;) sched_yield();
    return argument;
}

static void spinning(void) {
    pthread_t thread;
    for (int i = 0; i < 30; i++) pthread_create(&thread, NULL, spins, NULL);
    for (;;) {}
}

static void heap(int touches) {
    long count = 0;
    for (char *block; (block = malloc(1 << 20)); count++)
        if (touches) memset(block, 0xA5, 1 << 20);
    told(touches ? "MiB written" : "MiB allocated", count);
}

static void mapped(void) {
    long count = 0;
    for (; count < MOST; count++) {
        char *area = mmap(NULL, 1 << 24, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (area == MAP_FAILED) break;
        for (int page = 0; page < 4096; page++) area[page * 4096L] = 1;
    }
    told("mappings of 16 MiB, written", count);
}

static void broken(void) {
    long count = 0;
    for (char *end = sbrk(0); sbrk(1 << 20) != (void *)-1; count++) memset(end + (count << 20), 1, 1 << 20);
    told("MiB of break", count);
}

static int deeper(int depth) {
    volatile char room[65536];
    for (unsigned i = 0; i < sizeof room; i += 4096) room[i] = (char)depth;
    return deeper(depth + 1) + room[0];
}

// Each other page, so that none can be merged with its neighbour.
static void mappings(void) {
    long count = 0;
    char *area = mmap(NULL, (size_t)1 << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (; count < MOST; count++)
        if (mprotect(area + count * 8192, 4096, PROT_READ)) break;
    told("mappings", count);
    count = 0;
    errno = 0;
    for (; count < MOST; count++)
        if (mmap(NULL, 4096, count & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) break;
    told("small mappings", count);
}

// Page tables are memory too: one page in each 2 MiB, then one in each GiB.
static void tables(void) {
    long count = 0;
    for (long address = 0x100000000; address < 0x700000000000; address += 1L << 30, count++) {
        char *page = mmap((void *)address, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (page == MAP_FAILED) break;
        *page = 1;
    }
    told("pages far from each other", count);
}

static void flood(void) {
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    for (;;) if (write(1, block, sizeof block) < 0 && errno != EAGAIN) _exit(9);
}

static void floods(void) {
    for (;;) write(1, "a", 1), write(2, "b", 1);
}

static void calls(void) {
    for (;;) syscall(SYS_getppid);
}

static void faults(void) {
    char *area = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (;;) {
        for (int i = 0; i < 256; i++) area[i * 4096] = 1;
        madvise(area, 1 << 20, MADV_DONTNEED);
    }
}

static void again(int number) { (void)number; }

static void raises(void) {
    signal(SIGUSR1, again);
    for (;;) raise(SIGUSR1);
}

static void faulty(void) {
    struct sigaction action = {.sa_handler = again, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    *(volatile int *)8 = 1;
}

static void descriptors(void) {
    long count = 0;
    for (; count < MOST && open("/dev/null", O_RDONLY) >= 0; count++) {}
    told("files open", count);
    syscall(SYS_close_range, 3, ~0U, 0);
    for (count = 0, errno = 0; count < MOST && dup(1) >= 0; count++) {}
    told("copies", count);
    syscall(SYS_close_range, 3, ~0U, 0);
    int ends[2];
    for (count = 0, errno = 0; count < MOST && pipe(ends) == 0; count++) {}
    told("pipes", count);
    syscall(SYS_close_range, 3, ~0U, 0);
    for (count = 0, errno = 0; count < MOST && epoll_create1(0) >= 0; count++) {}
    told("epolls", count);
    syscall(SYS_close_range, 3, ~0U, 0);
    for (count = 0, errno = 0; count < MOST && memfd_create("x", 0) >= 0; count++) {}
    told("memory files", count);
}

// Full pipes, each with 64 KiB, or with as much as a pipe can be made to hold.
static void pipes(void) {
    static char block[1 << 20];
    long bytes = 0;
    int ends[2];
    for (int i = 0; i < 400 && pipe2(ends, O_NONBLOCK) == 0; i++) {
        fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
        for (ssize_t count; (count = write(ends[1], block, sizeof block)) > 0;) bytes += count;
    }
    told("bytes in pipes", bytes);
}

static void scratch(void) {
    static char block[1 << 20];
    long count = 0;
    int fd = open("/tmp/big", O_CREAT | O_RDWR, 0600);
    for (; count < 100000 && write(fd, block, sizeof block) == sizeof block; count++) {}
    told("MiB in a file", count);
    errno = 0;
    told("at the end of a file", pwrite(fd, "x", 1, 0x7FFFFFFFFFFFFFFE));
    errno = 0;
    told("a long file", ftruncate(fd, 0x7FFFFFFFFFFFFFFF));
    errno = 0;
    told("room ahead", fallocate(fd, 0, 0, 1L << 40));
    unlink("/tmp/big");
    close(fd);
    char *area = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int memory = memfd_create("x", 0);
    for (count = 0, errno = 0; count < 100000 && write(memory, block, sizeof block) == sizeof block; count++) {}
    told("MiB in a memory file", count);
    (void)area;
}

static void names(void) {
    char path[4096];
    long count = 0;
    for (; count < NAMES; count++) {
        snprintf(path, sizeof path, "/tmp/%0200ld", count);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        if (fd < 0) break;
        close(fd);
    }
    told("empty files", count);
    for (long i = 0; i < count; i++) snprintf(path, sizeof path, "/tmp/%0200ld", i), unlink(path);
    for (count = 0, errno = 0; count < NAMES; count++)
        if (mkdir("d", 0700) || chdir("d")) break;
    told("directories in each other", count);
    errno = 0;
    told("where we are", getcwd(path, sizeof path) ? 1 : 0);
    chdir("/tmp");
    memset(path, 'y', 3000), path[3000] = 0;
    for (count = 0, errno = 0; count < NAMES; count++) {
        char name[64];
        snprintf(name, sizeof name, "/tmp/link%ld", count);
        if (symlink(path, name)) break;
    }
    told("long links", count);
}

static void *contends(void *argument) {
    for (;;) pthread_mutex_lock(argument), pthread_mutex_unlock(argument);
    return NULL;
}

static void locks(void) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_t thread;
    for (int i = 0; i < 8; i++) pthread_create(&thread, NULL, contends, &mutex);
    contends(&mutex);
}

static void deadlock(void) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    pthread_mutex_lock(&mutex);
}

static void sleeps(void) { sleep(1000000); }
static void timers(void) {
    long count = 0;
    for (; count < MOST; count++) {
        timer_t timer;
        if (timer_create(CLOCK_MONOTONIC, NULL, &timer)) break;
    }
    told("timers", count);
    for (count = 0, errno = 0; count < MOST; count++) {
        union sigval value = {0};
        sigset_t set;
        sigemptyset(&set), sigaddset(&set, SIGRTMIN), sigprocmask(SIG_BLOCK, &set, NULL);
        if (sigqueue(getpid(), SIGRTMIN, value)) break;
    }
    told("queued signals", count);
    int watch = epoll_create1(0);
    for (count = 0, errno = 0; count < 100000; count++) {
        struct epoll_event event = {.events = EPOLLIN};
        if (epoll_ctl(watch, EPOLL_CTL_ADD, eventfd(0, 0), &event)) break;
    }
    told("watched", count);
}

// Epolls that watch each other: Linux refuses the ring, and too deep a chain.
static void rings(void) {
    struct epoll_event event = {.events = EPOLLIN};
    int one = epoll_create1(0), other = epoll_create1(0);
    epoll_ctl(one, EPOLL_CTL_ADD, other, &event);
    errno = 0;
    told("a ring", epoll_ctl(other, EPOLL_CTL_ADD, one, &event));
    errno = 0;
    told("itself", epoll_ctl(one, EPOLL_CTL_ADD, one, &event));
    int below = one, depth = 0;
    for (; depth < 500; depth++) {
        int above = epoll_create1(0);
        if (epoll_ctl(above, EPOLL_CTL_ADD, below, &event)) break;
        below = above;
    }
    told("deep", depth > 4 ? 99 : depth);
    told("ready", epoll_wait(below, &event, 1, 0));
}

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(void); } all[] = {
        {"forks", forks}, {"threads", threads}, {"spinning", spinning}, {"mapped", mapped}, {"broken", broken},
        {"mappings", mappings}, {"tables", tables}, {"flood", flood}, {"floods", floods}, {"calls", calls},
        {"faults", faults}, {"raises", raises}, {"faulty", faulty}, {"descriptors", descriptors}, {"pipes", pipes},
        {"scratch", scratch}, {"names", names}, {"locks", locks}, {"deadlock", deadlock}, {"sleeps", sleeps},
        {"timers", timers}, {"rings", rings},
    };
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(name, all[i].name)) return all[i].run(), 0;
    if (!strcmp(name, "heap")) return heap(1), 0;
    if (!strcmp(name, "promises")) return heap(0), 0;
    if (!strcmp(name, "stack")) return deeper(0);
    if (!strcmp(name, "loop")) for (;;) {}
    return 99;
}
