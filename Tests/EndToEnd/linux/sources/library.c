// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// What C libraries are used for, a theme for each name in the arguments. Every line is the same on each run on Linux.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *said(long value) {
    static char text[8][64];
    static int next;
    char *here = text[next++ % 8];
    if (value < 0) snprintf(here, 64, "%s", strerrorname_np(errno));
    else snprintf(here, 64, "%ld", value);
    return here;
}

// What a call gave, or the name of its error.
#define SHOW(call) printf("%s: %s\n", #call, said(call))

static void files(void) {
    char buffer[64] = "";
    SHOW(mkdir("made", 0750));
    SHOW(mkdir("made", 0750));
    int fd = open("made/file", O_RDWR | O_CREAT | O_EXCL, 0640);
    SHOW(write(fd, "0123456789", 10));
    SHOW(lseek(fd, 4, SEEK_SET));
    SHOW(read(fd, buffer, 63));
    SHOW(pwrite(fd, "xyz", 3, 20));
    SHOW(ftruncate(fd, 30));
    struct stat facts;
    fstat(fd, &facts);
    printf("%s: size %ld, mode %o, links %ld\n", buffer, (long)facts.st_size, facts.st_mode, (long)facts.st_nlink);
    SHOW(pread(fd, buffer, 20, 5));
    for (int i = 0; i < 20; i++) printf("%02x", buffer[i]);
    puts("");
    SHOW(link("made/file", "made/other"));
    SHOW(symlink("../made/file", "made/soft"));
    SHOW(readlink("made/soft", buffer, 64));
    SHOW(stat("made/soft", &facts));
    printf("size %ld, links %ld\n", (long)facts.st_size, (long)facts.st_nlink);
    SHOW(rename("made/other", "made/third"));
    SHOW(unlink("made/file"));
    SHOW(unlink("made/file"));
    SHOW(open("made/soft", O_RDONLY));
    SHOW(rmdir("made"));
    SHOW(open("no/file", O_RDONLY));
    SHOW(open("made/third/x", O_RDONLY));
    SHOW(symlink("loop", "made/loop"));
    SHOW(open("made/loop", O_RDONLY));
    DIR *directory = opendir("made");
    struct dirent *entry;
    int names = 0, bytes = 0;
    while ((entry = readdir(directory))) names++, bytes += (int)strlen(entry->d_name);
    closedir(directory);
    printf("%d names of %d bytes\n", names, bytes);
    int copy = dup(fd);
    SHOW(fcntl(copy, F_GETFL) & O_ACCMODE);
    SHOW(fcntl(copy, F_GETFD));
    SHOW(lseek(copy, 0, SEEK_CUR));
    SHOW(fcntl(copy, F_DUPFD_CLOEXEC, 50));
    SHOW(close(copy));
    SHOW(close(copy));
    struct iovec parts[2] = {{"one ", 4}, {"two\n", 4}};
    fflush(stdout);
    SHOW(writev(1, parts, 2));
    SHOW(read(99, buffer, 1));
    SHOW(read(open("made", O_RDONLY), buffer, 1));
    SHOW(access("made", X_OK));
    SHOW(chmod("made/third", 0400));
    stat("made/third", &facts);
    printf("mode %o\n", facts.st_mode);
    FILE *file = fopen("made/lines", "w+");
    for (int i = 0; i < 1000; i++) fprintf(file, "line %d\n", i);
    rewind(file);
    long sum = 0;
    for (int n; fscanf(file, "line %d\n", &n) == 1;) sum += n;
    printf("lines in sum %ld, at %ld\n", sum, ftell(file));
    fclose(file);
    file = fopen("made/lines", "a");
    fputs("more", file);
    fclose(file);
    stat("made/lines", &facts);
    printf("then %ld bytes\n", (long)facts.st_size);
    file = tmpfile();
    printf("tmpfile %s\n", file ? "there" : strerrorname_np(errno));
    char name[] = "/tmp/XXXXXX";
    printf("mkstemp %s\n", mkstemp(name) >= 0 ? "there" : strerrorname_np(errno));
    SHOW(unlink(name));
    SHOW(chdir("made"));
    SHOW(open("third", O_RDONLY) >= 0);
    SHOW(chdir(".."));
    char *const names_of_files[] = {"made/third", "made/lines", "made/soft", "made/loop"};
    for (int i = 0; i < 4; i++) SHOW(unlink(names_of_files[i]));
    SHOW(rmdir("made"));
}

static void memory(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    printf("page %zu\n", page);
    unsigned char *area = mmap(NULL, 64 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < 64; i++) area[i * page] = (unsigned char)i;
    SHOW(munmap(area + 8 * page, page));
    SHOW(mprotect(area, 16 * page, PROT_READ));
    unsigned char *moved = mremap(area + 16 * page, 48 * page, 96 * page, MREMAP_MAYMOVE);
    printf("mremap %s, kept %d\n", moved == MAP_FAILED ? strerrorname_np(errno) : "there", moved[47 * page]);
    moved[0] = 7;
    SHOW(madvise(moved, page, MADV_DONTNEED));
    SHOW(moved[0]);
    void *reserved = mmap(NULL, (size_t)1 << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    printf("64 GiB reserved: %s\n", reserved == MAP_FAILED ? strerrorname_np(errno) : "there");
    int fd = open("data/numbers.txt", O_RDONLY);
    char *text = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    text[0] = 'X';
    char first;
    pread(fd, &first, 1, 0);
    printf("a private mapping: %c, the file: %c\n", text[0], first);
    char *chunks[1000];
    for (int i = 0; i < 1000; i++) memset(chunks[i] = malloc((size_t)i * 97 + 1), i, (size_t)i * 97 + 1);
    long sum = 0;
    for (int i = 0; i < 1000; i++) sum += chunks[i][i * 97] & 0xFF, free(chunks[i]);
    printf("malloc %ld, too much %s\n", sum, malloc((size_t)1 << 50) ? "there" : "ENOMEM");
    printf("unaligned munmap %s\n", said(munmap(moved + 1, page)));
}

static volatile sig_atomic_t caught, inside;
static sigjmp_buf back;

static void note(int number) { caught = number; }
static void jump(int number, siginfo_t *information, void *context) {
    (void)context;
    inside = information->si_code;
    caught = number;
    siglongjmp(back, 1);
}

static void signals(void) {
    struct sigaction action = {.sa_handler = note};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    printf("raised %d\n", caught);
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    caught = 0;
    kill(getpid(), SIGUSR1);
    sigpending(&pending);
    printf("blocked %d, pending %d\n", caught, sigismember(&pending, SIGUSR1));
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    printf("unblocked %d\n", caught);
    stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    sigaltstack(&stack, NULL);
    struct sigaction fault = {.sa_sigaction = jump, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    int numbers[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP};
    for (int i = 0; i < 5; i++) sigaction(numbers[i], &fault, NULL);
    if (!sigsetjmp(back, 1)) *(volatile int *)8 = 1;
    printf("nothing there: signal %d, code %d\n", caught, inside);
    if (!sigsetjmp(back, 1)) *(volatile char *)"constant" = 1;
    printf("not to be written: signal %d, code %d\n", caught, inside);
    volatile int zero = 0;
    if (!sigsetjmp(back, 1)) zero = 10000 / zero;
    printf("division: signal %d, code %d\n", caught, inside);
    if (!sigsetjmp(back, 1)) __asm__ volatile("ud2");
    printf("no instruction: signal %d, code %d\n", caught, inside);
    if (!sigsetjmp(back, 1)) __asm__ volatile("int3");
    printf("breakpoint: signal %d\n", caught);
    if (!sigsetjmp(back, 1)) __asm__ volatile("hlt");
    printf("privileged: signal %d, code %d\n", caught, inside);
    struct itimerval soon = {.it_value = {.tv_usec = 1000}};
    struct sigaction alarmed = {.sa_handler = note};
    sigaction(SIGALRM, &alarmed, NULL);
    caught = 0;
    setitimer(ITIMER_REAL, &soon, NULL);
    while (!caught) {}
    printf("in a loop: signal %d\n", caught);
    setitimer(ITIMER_REAL, &soon, NULL);
    printf("pause %s\n", said(pause()));
    struct timespec second = {.tv_nsec = 500000000}, rest;
    setitimer(ITIMER_REAL, &soon, NULL);
    SHOW(nanosleep(&second, &rest));
    SHOW(rest.tv_nsec > 0);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 7});
    siginfo_t information;
    SHOW(sigwaitinfo(&set, &information));
    SHOW(information.si_value.sival_int);
    signal(SIGPIPE, SIG_IGN);
    int ends[2];
    pipe(ends);
    close(ends[0]);
    printf("a broken pipe: %s\n", said(write(ends[1], "x", 1)));
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn, total;
static sem_t semaphore;
static _Thread_local int own = 40;
static pthread_barrier_t barrier;

static void *worker(void *argument) {
    int number = (int)(intptr_t)argument;
    own += number;
    for (int i = 0; i < 10000; i++) {
        pthread_mutex_lock(&mutex);
        total++;
        pthread_mutex_unlock(&mutex);
    }
    pthread_barrier_wait(&barrier);
    pthread_mutex_lock(&mutex);
    while (turn != number) pthread_cond_wait(&changed, &mutex);
    printf("thread %d, its own %d, all %d\n", number, own, total);
    turn++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    sem_post(&semaphore);
    return (void *)(intptr_t)(number * number);
}

static void threads(void) {
    pthread_t all[8];
    long sum = 0;
    void *value;
    sem_init(&semaphore, 0, 0);
    pthread_barrier_init(&barrier, NULL, 8);
    for (intptr_t i = 0; i < 8; i++) pthread_create(&all[i], NULL, worker, (void *)i);
    for (int i = 0; i < 8; i++) sem_wait(&semaphore);
    for (int i = 0; i < 8; i++) pthread_join(all[i], &value), sum += (intptr_t)value;
    printf("sum of squares %ld, own %d\n", sum, own);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    printf("timed out: %s\n", strerrorname_np(sem_timedwait(&semaphore, &until) ? errno : 0));
    pthread_mutex_lock(&mutex);
    printf("and the condition: %s\n", strerrorname_np(pthread_cond_timedwait(&changed, &mutex, &until)));
}

static void *writes(void *argument) {
    for (int i = 0; i < 300000; i += 1000) {
        char block[1000];
        memset(block, i / 1000, sizeof block);
        if (write(*(int *)argument, block, sizeof block) != sizeof block) break;
    }
    close(*(int *)argument);
    return NULL;
}

static void pipes(void) {
    int ends[2];
    pipe2(ends, O_CLOEXEC);
    pthread_t thread;
    pthread_create(&thread, NULL, writes, &ends[1]);
    unsigned char buffer[4096];
    long sum = 0, bytes = 0;
    for (ssize_t count; (count = read(ends[0], buffer, sizeof buffer)) > 0; bytes += count)
        for (ssize_t i = 0; i < count; i++) sum += buffer[i];
    pthread_join(thread, NULL);
    printf("%ld bytes through a pipe, in sum %ld\n", bytes, sum);
    pipe2(ends, O_NONBLOCK);
    printf("nothing in it: %s\n", said(read(ends[0], buffer, 1)));
    long filled = 0;
    for (ssize_t count; (count = write(ends[1], buffer, 4096)) > 0;) filled += count;
    printf("full at %ld: %s\n", filled, strerrorname_np(errno));
    struct pollfd both[2] = {{ends[0], POLLIN, 0}, {ends[1], POLLOUT, 0}};
    SHOW(poll(both, 2, 0));
    printf("events %x, %x\n", both[0].revents, both[1].revents);
    int events = eventfd(3, EFD_SEMAPHORE), watch = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 42};
    epoll_ctl(watch, EPOLL_CTL_ADD, events, &event);
    printf("epoll %s, ", said(epoll_wait(watch, &event, 1, -1)));
    printf("of %lu\n", (unsigned long)event.data.u64);
    uint64_t value;
    printf("eventfd %s, ", said(read(events, &value, 8)));
    printf("value %lu\n", (unsigned long)value);
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec soon = {.it_value = {.tv_nsec = 1000000}};
    timerfd_settime(timer, 0, &soon, NULL);
    printf("timerfd %s\n", said(read(timer, &value, 8)));
    fd_set set;
    FD_ZERO(&set);
    FD_SET(events, &set);
    struct timeval none = {0};
    printf("select %s\n", said(select(events + 1, &set, NULL, NULL, &none)));
}

static void clocks(void) {
    struct timespec before, after, nap = {.tv_nsec = 2000000};
    clock_gettime(CLOCK_MONOTONIC, &before);
    printf("nanosleep %s\n", said(nanosleep(&nap, NULL)));
    clock_gettime(CLOCK_MONOTONIC, &after);
    long passed = (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
    printf("at least as long: %d\n", passed >= nap.tv_nsec);
    time_t now = time(NULL);
    printf("this century: %d\n", now > 1700000000 && now < 4000000000);
    struct tm parts;
    time_t then = 1000000000;
    char text[64];
    strftime(text, sizeof text, "%A %F %T %Z", gmtime_r(&then, &parts));
    puts(text);
    struct rusage usage;
    printf("getrusage %s\n", said(getrusage(RUSAGE_SELF, &usage)));
    printf("clock %d, cpu clock %s\n", clock() >= 0, said(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after)));
    printf("%.10f %.10f %a\n", sin(1), pow(2, 0.5), exp(1));
    char host[65];
    printf("gethostname %s, cores %d\n", said(gethostname(host, 65)), sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    struct rlimit limit;
    printf("getrlimit %s, umask %o\n", said(getrlimit(RLIMIT_STACK, &limit)), umask(022));
}

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(void); } themes[] = {
        {"files", files}, {"memory", memory}, {"signals", signals}, {"threads", threads}, {"pipes", pipes},
        {"clocks", clocks},
    };
    for (int i = 1; i < argc; i++)
        for (size_t n = 0; n < sizeof themes / sizeof *themes; n++)
            if (!strcmp(argv[i], themes[n].name)) themes[n].run();
    return 0;
}
