// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Looks for what the machine beneath has: every path in the arguments, in many shapes, by every call that can open, name, read,
// change or enter a file. Prints each call that succeeded in the shape "CALL PATH: what it gave", with the first bytes of what was
// read. Whoever runs it knows what must not be among that.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static long tries;

static void content(const char *call, const char *path, int fd) {
    char bytes[256];
    tries++;
    if (fd < 0) return;
    ssize_t count = read(fd, bytes, sizeof bytes);
    printf("%s %s: %zd ", call, path, count);
    for (ssize_t i = 0; i < count; i++) putchar(bytes[i] >= ' ' && bytes[i] < 127 ? bytes[i] : '.');
    putchar('\n');
    char *mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped != MAP_FAILED && count > 0) printf("mmap %s: %.200s\n", path, mapped);
    close(fd);
}

static void gave(const char *call, const char *path, long value, const char *what) {
    tries++;
    if (value >= 0) printf("%s %s: %.*s\n", call, path, (int)(value > 250 ? 250 : value), what);
}

static void attempt(const char *path) {
    char buffer[4096];
    struct stat facts;
    content("open", path, open(path, O_RDONLY));
    content("open for writing", path, open(path, O_RDWR));
    content("open as a path", path, open(path, O_PATH));
    content("openat", path, openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK));
    int root = open("/", O_RDONLY | O_DIRECTORY), data = open("data", O_RDONLY | O_DIRECTORY);
    content("openat the root", path, openat(root, path, O_RDONLY));
    content("openat data", path, openat(data, path, O_RDONLY));
    for (unsigned long long flags = 0; flags <= RESOLVE_IN_ROOT; flags = flags ? flags * 2 : 1) {
        struct open_how how = {.flags = O_RDONLY, .resolve = flags};
        content("openat2", path, (int)syscall(SYS_openat2, data, path, &how, sizeof how));
    }
    if (!strstr(path, "stdin") && !strstr(path, "fd/")) content("creat", path, (int)syscall(SYS_creat, path, 0600));
    gave("readlink", path, readlink(path, buffer, sizeof buffer), buffer);
    gave("stat", path, stat(path, &facts) ? -1 : snprintf(buffer, 99, "mode %o, size %ld", facts.st_mode, (long)facts.st_size), buffer);
    struct statx extended;
    gave("statx", path, statx(AT_FDCWD, path, 0, STATX_ALL, &extended) ? -1 : snprintf(buffer, 99, "size %llu", extended.stx_size), buffer);
    gave("access", path, access(path, R_OK) ? -1 : 0, "");
    if (chdir(path) == 0) {
        gave("chdir", path, 0, "");
        content("file from there", path, open("secret", O_RDONLY));
        content("above from there", path, open("../../../../../../etc/shadow", O_RDONLY));
        chdir("/");
    }
    gave("chroot", path, chroot(path), "");
    gave("link", path, link(path, "made-link") ? -1 : 0, "");
    content("link", path, open("made-link", O_RDONLY));
    unlink("made-link");
    gave("rename", path, rename(path, "made-name") ? -1 : 0, "");
    content("rename", path, open("made-name", O_RDONLY));
    unlink("made-name");
    if (symlink(path, "made-soft") == 0) {
        content("symlink", path, open("made-soft", O_RDONLY));
        content("below a symlink", path, open("made-soft/secret", O_RDONLY));
        content("above a symlink", path, open("made-soft/../secret", O_RDONLY));
        unlink("made-soft");
    }
    gave("mount", path, syscall(SYS_mount, path, "/tmp", "none", 4096, 0), "");
    struct { unsigned bytes; int type; unsigned char handle[128]; } handle = {.bytes = 128};
    int mount;
    gave("name_to_handle_at", path, syscall(SYS_name_to_handle_at, AT_FDCWD, path, &handle, &mount, 0), "");
    content("open_by_handle_at", path, (int)syscall(SYS_open_by_handle_at, AT_FDCWD, &handle, O_RDONLY));
    gave("open_tree", path, syscall(SYS_open_tree, AT_FDCWD, path, 0), "");
    gave("fsopen", path, syscall(SYS_fsopen, "proc", 0), "");
    gave("inotify", path, syscall(SYS_inotify_init1, 0), "");
    gave("swapon", path, syscall(SYS_swapon, path, 0), "");
    gave("acct", path, syscall(SYS_acct, path), "");
    gave("uselib", path, syscall(SYS_uselib, path), "");
    gave("listxattr", path, syscall(SYS_listxattr, path, buffer, sizeof buffer), buffer);
    int end = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    gave("connect", path, connect(end, (void *)&address, sizeof address), "");
    address.sun_path[0] = 0;
    gave("connect in the abstract", path, connect(end, (void *)&address, sizeof address), "");
    close(end), close(root), close(data);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) gave("entry", path, (long)strlen(entry->d_name), entry->d_name);
    if (directory) closedir(directory);
}

static void shapes(const char *path) {
    static const char *before[] = {
        "", "..", "../../../../../../../..", "/..", "/../../../../..", "//", "/.", "/./../", "/data/../..", "data/../../..",
        "data/deep/../../../..", "/proc/self/root", "/proc/1/root", "/proc/self/cwd", "/proc/self/cwd/../..", "/proc/thread-self/root",
        "/dev/fd/../..", "/proc/self/fd/../../..", "/proc/self/fd/0/..", "/proc/self/fd/3", "/tmp/../../..", "/escape", "escape",
        "/data/escape/../..",
    };
    char whole[9000];
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        snprintf(whole, sizeof whole, "%s%s%s", before[i], path[0] == '/' || !before[i][0] ? "" : "/", path);
        attempt(whole);
    }
    memset(whole, 0, sizeof whole);
    for (int i = 0; i < 1200; i++) memcpy(whole + i * 3, "../", 3);
    snprintf(whole + 3600, 400, "%s", path + (path[0] == '/'));
    attempt(whole);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    symlink("/", "escape");
    symlink("../../../../../..", "data/escape");
    for (int i = 1; i < argc; i++) shapes(argv[i]);
    // Calls that reach other processes and the machine itself, with arguments that could be right.
    char buffer[4096];
    const struct { const char *name; long number, one, two, three; } others[] = {
        {"ptrace", SYS_ptrace, 16, 1, 0}, {"process_vm_readv", SYS_process_vm_readv, 1, (long)buffer, 1},
        {"kill a neighbour", SYS_kill, 2, 0, 0}, {"kill a parent", SYS_kill, getppid(), 0, 0}, {"reboot", SYS_reboot, 0xfee1dead, 672274793, 0x1234567},
        {"init_module", SYS_init_module, (long)buffer, 100, (long)""}, {"bpf", SYS_bpf, 0, (long)buffer, 100},
        {"perf_event_open", SYS_perf_event_open, (long)buffer, 0, -1}, {"io_uring_setup", SYS_io_uring_setup, 8, (long)buffer, 0},
        {"userfaultfd", SYS_userfaultfd, 0, 0, 0}, {"unshare", SYS_unshare, 0x10000000, 0, 0}, {"setns", SYS_setns, 3, 0, 0},
        {"keyctl", SYS_keyctl, 0, -3, 1}, {"syslog", SYS_syslog, 3, (long)buffer, 4096}, {"iopl", SYS_iopl, 3, 0, 0},
        {"ioperm", SYS_ioperm, 0, 100, 1}, {"modify_ldt", SYS_modify_ldt, 0, (long)buffer, 100}, {"pidfd_open", SYS_pidfd_open, 2, 0, 0},
        {"kcmp", SYS_kcmp, 1, 2, 0}, {"socket", SYS_socket, 2, 1, 0}, {"socket of packets", SYS_socket, 17, 3, 0},
        {"socket of the kernel", SYS_socket, 16, 3, 0}, {"sethostname", SYS_sethostname, (long)"x", 1, 0},
        {"settimeofday", SYS_settimeofday, (long)buffer, 0, 0}, {"pivot_root", SYS_pivot_root, (long)"/", (long)"/tmp", 0},
        {"shmget", SYS_shmget, 1234, 4096, 01600}, {"msgget", SYS_msgget, 1234, 01600, 0}, {"fanotify", SYS_fanotify_init, 0, 0, 0},
        {"setpriority of others", SYS_setpriority, 0, 2, 5}, {"mknod", SYS_mknod, (long)"made-node", 020600, 0x10a},
        {"kexec_load", SYS_kexec_load, 0, 0, 0}, {"vhangup", SYS_vhangup, 0, 0, 0}, {"quotactl", SYS_quotactl, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        tries++;
        long value = syscall(others[i].number, others[i].one, others[i].two, others[i].three, 0, 0, 0);
        if (value >= 0) printf("call %s: %ld\n", others[i].name, value);
    }
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(buffer, sizeof buffer, maps)) printf("maps: %s", buffer);
    printf("%ld tries\n", tries);
    return 0;
}
