// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

/// Programs with threads, locks and signals, as the C library makes them.
@Suite(
    "Linux programs with threads and signals", .enabled(if: Hardware.isThere, "no usable /dev/kvm"),
    .enabled(if: Compiler.isThere, "no gcc: apt install gcc"))
struct ThreadedProgramTests {
    private static let options = ["-static", "-O1", "-pthread", "-w", "-fno-math-errno"]

    /// Runs a program that says by its status which of its checks failed.
    private func expectSuccess(
        of source: String, output: String? = nil, input: [UInt8] = [],
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let run = try await Run.program(
            try Compiler.compile(source, Self.options), input: input, memoryBytes: 256 << 20)
        let result = try run.result
        #expect(result.outcome == .exited(code: 0), "\(run.text) \(run.errors)", sourceLocation: sourceLocation)
        #expect(result.program?.unknownCalls == [], sourceLocation: sourceLocation)
        if let output { #expect(run.text == output, sourceLocation: sourceLocation) }
    }

    @Test func `threads count with and without locks, and are joined`() async throws {
        try await expectSuccess(
            of: """
                #include <pthread.h>
                #include <stdatomic.h>
                static long locked; static atomic_long free_;
                static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
                static __thread long own;
                static void *count(void *p) {
                    for (int i = 0; i < 20000; i++) {
                        pthread_mutex_lock(&lock); locked++; pthread_mutex_unlock(&lock);
                        free_++; own++;
                    }
                    return (void *)(own + (long)p);
                }
                int main() {
                    pthread_t t[16]; void *r;
                    for (long i = 0; i < 16; i++) if (pthread_create(&t[i], 0, count, (void *)i)) return 1;
                    for (long i = 0; i < 16; i++) if (pthread_join(t[i], &r) || (long)r != 20000 + i) return 2;
                    return locked == 320000 && free_ == 320000 && !own ? 0 : 3;
                }
                """)
    }

    /// Each thread computes for longer than a slice, with registers that only it has.
    @Test func `threads that compute are interrupted, and find all their registers again`() async throws {
        try await expectSuccess(
            of: """
                #include <pthread.h>
                #include <immintrin.h>
                static volatile int running;
                static double work(int n) {
                    double x = n; long double y = n; unsigned long a = n, b = n * 3 + 1, c = n * 7;
                    for (long i = 1; i < 20000000; i++) {
                        x = x * 1.0000001 + 1.0 / i; y += x; a = a * 6364136223846793005UL + b; b ^= c + a; c += i;
                    }
                    return x + (double)y + (double)(a ^ b ^ c);
                }
                static double expected[4];
                static int modes[4] = {0, 1, 2, 3};
                static void fesetround(int mode) {
                    unsigned short w; __asm__ volatile("fnstcw %0" : "=m"(w)); w = w & 0xF3FF | mode << 10;
                    __asm__ volatile("fldcw %0" :: "m"(w)); _mm_setcsr(_mm_getcsr() & ~0x6000 | mode << 13);
                }
                static int fegetround(void) { return _mm_getcsr() >> 13 & 3; }
                static void *run(void *p) {
                    long n = (long)p;
                    fesetround(modes[n]);
                    double found = work(n);
                    return (void *)(long)(found == expected[n] && fegetround() == modes[n] ? 0 : n + 1);
                }
                int main() {
                    pthread_t t[4]; void *r;
                    for (int i = 0; i < 4; i++) { fesetround(modes[i]); expected[i] = work(i); }
                    fesetround(0);
                    for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, run, (void *)i);
                    for (int i = 0; i < 4; i++) { pthread_join(t[i], &r); if (r) return (long)r; }
                    return 0;
                }
                """)
    }

    @Test func `conditions, semaphores, barriers and time limits hold`() async throws {
        try await expectSuccess(
            of: """
                #define _GNU_SOURCE
                #include <pthread.h>
                #include <semaphore.h>
                #include <errno.h>
                #include <time.h>
                static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
                static pthread_cond_t full = PTHREAD_COND_INITIALIZER, empty = PTHREAD_COND_INITIALIZER;
                static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
                static pthread_barrier_t barrier; static sem_t sem;
                static int box, has; static long sum;
                static void *produce(void *p) {
                    for (int i = 1; i <= 200; i++) {
                        pthread_mutex_lock(&m);
                        while (has) pthread_cond_wait(&empty, &m);
                        box = i; has = 1; pthread_cond_signal(&full);
                        pthread_mutex_unlock(&m);
                    }
                    pthread_barrier_wait(&barrier); sem_post(&sem); return 0;
                }
                static void *consume(void *p) {
                    for (int i = 0; i < 200; i++) {
                        pthread_mutex_lock(&m);
                        while (!has) pthread_cond_wait(&full, &m);
                        sum += box; has = 0; pthread_cond_broadcast(&empty);
                        pthread_mutex_unlock(&m);
                    }
                    pthread_barrier_wait(&barrier); sem_post(&sem); return 0;
                }
                static void *hold(void *p) {
                    pthread_rwlock_wrlock(&rw); sem_post(&sem);
                    struct timespec t = {0, 2000000}; nanosleep(&t, 0);
                    pthread_rwlock_unlock(&rw); return 0;
                }
                int main() {
                    pthread_t a[4], h; struct timespec t;
                    pthread_barrier_init(&barrier, 0, 5); sem_init(&sem, 0, 0);
                    for (int i = 0; i < 4; i++) pthread_create(&a[i], 0, i & 1 ? produce : consume, 0);
                    pthread_barrier_wait(&barrier);
                    for (int i = 0; i < 4; i++) sem_wait(&sem);
                    for (int i = 0; i < 4; i++) pthread_join(a[i], 0);
                    if (sum != 2L * 200 * 201 / 2) return 1;
                    pthread_mutex_lock(&m);
                    clock_gettime(CLOCK_REALTIME, &t); t.tv_nsec += 20000000;
                    if (t.tv_nsec >= 1000000000) { t.tv_sec++; t.tv_nsec -= 1000000000; }
                    if (pthread_cond_timedwait(&full, &m, &t) != ETIMEDOUT) return 2;
                    pthread_create(&h, 0, hold, 0); sem_wait(&sem);
                    if (pthread_rwlock_trywrlock(&rw) != EBUSY) return 3;
                    pthread_rwlock_rdlock(&rw); pthread_rwlock_unlock(&rw); pthread_join(h, 0);
                    return 0;
                }
                """)
    }

    @Test func `threads are cancelled, told signals, and leave robust locks behind`() async throws {
        try await expectSuccess(
            of: """
                #define _GNU_SOURCE
                #include <pthread.h>
                #include <signal.h>
                #include <errno.h>
                #include <unistd.h>
                static volatile int cleaned, handled; static pthread_t main_; static pthread_mutex_t m;
                static void clean(void *p) { cleaned = 1; }
                static void on(int s, siginfo_t *i, void *c) { if (i->si_code == SI_TKILL) handled = s; }
                static void *wait_(void *p) {
                    pthread_cleanup_push(clean, 0); pause(); pthread_cleanup_pop(0); return 0;
                }
                static void *spin(void *p) { while (!handled) ; return 0; }
                static void *die(void *p) { pthread_mutex_lock(&m); return 0; }
                static void *take(void *p) {
                    sigset_t s; int n; sigemptyset(&s); sigaddset(&s, SIGUSR2); sigwait(&s, &n); return (void *)(long)n;
                }
                int main() {
                    pthread_t t; void *r; struct sigaction a = {0}; pthread_mutexattr_t attr; sigset_t s;
                    pthread_create(&t, 0, wait_, 0); usleep(1000);
                    pthread_cancel(t); pthread_join(t, &r);
                    if (r != PTHREAD_CANCELED || !cleaned) return 1;
                    a.sa_sigaction = on; a.sa_flags = SA_SIGINFO; sigaction(SIGUSR1, &a, 0);
                    pthread_create(&t, 0, spin, 0); usleep(1000);
                    pthread_kill(t, SIGUSR1); pthread_join(t, 0);
                    if (handled != SIGUSR1) return 2;
                    sigemptyset(&s); sigaddset(&s, SIGUSR2); pthread_sigmask(SIG_BLOCK, &s, 0);
                    pthread_create(&t, 0, take, 0); usleep(1000); kill(getpid(), SIGUSR2); pthread_join(t, &r);
                    if ((long)r != SIGUSR2) return 3;
                    pthread_mutexattr_init(&attr); pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
                    pthread_mutex_init(&m, &attr);
                    pthread_create(&t, 0, die, 0); pthread_join(t, 0);
                    if (pthread_mutex_lock(&m) != EOWNERDEAD) return 4;
                    return pthread_mutex_consistent(&m) || pthread_mutex_unlock(&m) ? 5 : 0;
                }
                """)
    }

    @Test func `faults are handled: by a jump, by mending, on another stack`() async throws {
        try await expectSuccess(
            of: """
                #define _GNU_SOURCE
                #include <setjmp.h>
                #include <signal.h>
                #include <stdlib.h>
                #include <string.h>
                #include <sys/mman.h>
                #include <ucontext.h>
                static sigjmp_buf back; static volatile siginfo_t seen; static volatile int deep; static char *page;
                static void jump(int s, siginfo_t *i, void *c) { seen = *i; siglongjmp(back, s); }
                static void mend(int s, siginfo_t *i, void *c) { mprotect(page, 4096, PROT_READ | PROT_WRITE); }
                static void skip(int s, siginfo_t *i, void *c) { ((ucontext_t *)c)->uc_mcontext.gregs[REG_RIP] += 2; }
                __attribute__((noinline)) static int fall(int n) { volatile char b[4096]; b[0] = n; deep = n; return fall(n + 1) + b[0]; }
                static void set(int s, void *h) {
                    struct sigaction a = {0}; a.sa_sigaction = h; a.sa_flags = SA_SIGINFO | SA_ONSTACK; sigaction(s, &a, 0);
                }
                int main() {
                    stack_t st = {malloc(65536), 0, 65536}; volatile int zero = 0; volatile double kept = 1.5;
                    sigaltstack(&st, 0);
                    set(SIGSEGV, jump); set(SIGFPE, jump); set(SIGILL, skip); set(SIGBUS, jump); set(SIGTRAP, jump);
                    for (int i = 0; i < 100; i++) if (!sigsetjmp(back, 1)) { *(volatile int *)0x18 = 1; return 1; }
                    if (seen.si_addr != (void *)0x18 || seen.si_code != SEGV_MAPERR) return 2;
                    if (!sigsetjmp(back, 1)) { *(volatile char *)main = 1; return 3; }
                    if (seen.si_addr != (void *)main || seen.si_code != SEGV_ACCERR) return 4;
                    if (!sigsetjmp(back, 1)) { zero = 7 / zero; return 5; }
                    if (seen.si_signo != SIGFPE || seen.si_code != FPE_INTDIV) return 6;
                    if (!sigsetjmp(back, 1)) { *(volatile int *)0x8000000000000000 = 1; return 7; }
                    if (seen.si_code != SI_KERNEL || seen.si_addr) return 8;
                    if (!sigsetjmp(back, 1)) { __asm__ volatile("int3"); return 9; }
                    if (seen.si_signo != SIGTRAP) return 10;
                    __asm__ volatile("ud2");
                    for (int i = 0; i < 3; i++) if (!sigsetjmp(back, 1)) { fall(0); return 11; }
                    if (deep < 1000) return 12;
                    page = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                    set(SIGSEGV, mend);
                    page[7] = 5;
                    return page[7] == 5 && kept * 2 == 3 ? 0 : 13;
                }
                """)
    }

    @Test func `alarms interrupt loops and calls, and leave computations as they were`() async throws {
        try await expectSuccess(
            of: """
                #include <signal.h>
                #include <errno.h>
                #include <unistd.h>
                                #include <sys/time.h>
                static volatile int count; static volatile double other;
                static void tick(int s) { count++; other = __builtin_sqrt(count) * 1.1; __asm__ volatile("fninit; pxor %%xmm7,%%xmm7" ::: "xmm7"); }
                int main() {
                    struct itimerval t = {{0, 2000}, {0, 2000}}; struct sigaction a = {0}; char b;
                    a.sa_handler = tick; a.sa_flags = SA_RESTART; sigaction(SIGALRM, &a, 0);
                    setitimer(ITIMER_REAL, &t, 0);
                    double x = 0, y = 0; long double z = 1; long n = 0;
                    while (count < 50) { x += 0.5; y = y * 1.0 + 0.25; z += 0.125L; n++; }
                    if (x != n * 0.5 || y != n * 0.25 || z != 1 + n * 0.125L) return 1;
                    t.it_interval.tv_usec = 0; t.it_value.tv_usec = 5000; setitimer(ITIMER_REAL, &t, 0);
                    count = 0;
                    if (read(0, &b, 1) != 1 || b != 'x') return 2;
                    while (!count) ;
                    a.sa_flags = 0; sigaction(SIGALRM, &a, 0);
                    setitimer(ITIMER_REAL, &t, 0);
                    if (sleep(100) < 99) return 3;
                    setitimer(ITIMER_REAL, &t, 0);
                    return pause() == -1 && errno == EINTR ? 0 : 4;
                }
                """, input: Array("x".utf8))
    }

    @Test(arguments: [
        ("abort();", 134 as UInt32), ("raise(SIGTERM);", 143), ("kill(getpid(), SIGKILL);", 137),
        ("pthread_kill(pthread_self(), SIGUSR1);", 138),
    ])
    func `a signal that nothing handles ends the program as a shell says it`(body: String, status: UInt32) async throws
    {
        let source = """
            #include <pthread.h>
            #include <signal.h>
            #include <stdlib.h>
            #include <unistd.h>
            int main() { \(body) return 0; }
            """
        let result = try await Run.program(try Compiler.compile(source, Self.options)).result
        #expect(result.outcome == .exited(code: status))
        #expect(result.program?.signal == UInt8(status - 128))
    }

    @Test func `bombs end in errors`() async throws {
        try await expectSuccess(
            of: """
                #include <pthread.h>
                #include <errno.h>
                #include <unistd.h>
                #include <signal.h>
                static void *wait_(void *p) { pause(); return 0; }
                int main() {
                    pthread_attr_t a; pthread_t t; int n = 0, e;
                    pthread_attr_init(&a); pthread_attr_setstacksize(&a, 16384);
                    while (!(e = pthread_create(&t, &a, wait_, 0))) n++;
                    if (e != EAGAIN || n != 1023) return 1;
                    for (int i = 0; i < 100 && n >= 0; i++) sigqueue(getpid(), SIGCHLD, (union sigval){0});
                    return 0;
                }
                """)
        let fork = try Compiler.compile(
            "#include <unistd.h>\n#include <errno.h>\nint main() { return fork() == -1 && errno == ENOSYS ? 0 : 1; }",
            Self.options)
        let result = try await Run.program(fork).result
        #expect(result.outcome == .exited(code: 0))
        #expect(result.program?.unknownCalls.isEmpty == false)
    }

    @Test func `a program gives way to another one`() async throws {
        let source = """
            #include <stdio.h>
            #include <unistd.h>
            #include <pthread.h>
            static void *wait_(void *p) { pause(); return 0; }
            int main(int c, char **v) {
                pthread_t t;
                int n = c > 1 ? v[1][0] - '0' : 5;
                printf("%d %s\\n", n, v[0]);
                fflush(stdout);
                if (!n) return 0;
                pthread_create(&t, 0, wait_, 0);
                char next[2] = {n - 1 + '0'};
                char *arguments[] = {"again", next, 0}, *environment[] = {0};
                execve("/bin/a", arguments, environment);
                return 1;
            }
            """
        try await expectSuccess(of: source, output: "5 a\n4 again\n3 again\n2 again\n1 again\n0 again\n")
    }
}
