// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
//
// None of these does harm where it succeeds: what takes a path, a magic number or a pointer is given one that the kernel turns
// down, but only after it has asked whether the process may do such a thing at all.
#define _GNU_SOURCE
#include "forbidden_acts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// Numbers that this system's headers may not have yet.
enum {
    SET_USER_MEMORY_REGION2 = 0x40A0AE49,
    CREATE_GUEST_MEMFD = 0xC040AED4,
    SET_MEMORY_ATTRIBUTES = 0x4020AED2,
};

typedef const struct forbidden_acts_surroundings *surroundings;

static int done(long result) { return result < 0 ? -errno : (int)(result & 0x7FFFFFFF); }

/// The end of a child that should not be: the parent waits for it.
static int parent_of(pid_t child) {
    if (child == 0) _exit(0);
    if (child < 0) return -errno;
    waitpid(child, NULL, 0);
    return 0;
}

static int stream_to(const struct sockaddr *address, socklen_t size) {
    int fd = socket(address->sa_family, SOCK_STREAM, 0);
    if (fd < 0) return -errno;
    int result = done(connect(fd, address, size));
    close(fd);
    return result;
}

static struct sockaddr_un path_address(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return address;
}

static int new_request(int fd, unsigned long request, void *argument) { return done(ioctl(fd, request, argument)); }

static void *wait_forever(void *nothing) {
    for (;;) poll(NULL, 0, -1);
    return nothing;
}

int forbidden_acts_start_threads(int most) {
    int count = 0;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    pthread_t thread;
    while (count < most && pthread_create(&thread, &attributes, wait_forever, NULL) == 0) count++;
    return count;
}

int forbidden_acts_take_memory(long bytes) {
    char *memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return -errno;
    for (long offset = 0; offset < bytes; offset += 4096) memory[offset] = 1;
    return 0;
}

static int mapped(void *page) { return page == MAP_FAILED ? -errno : 0; }

static int try_read_etc_passwd(surroundings around) {
    (void)around;
    return done(open("/etc/passwd", O_RDONLY));
}

static int try_read_the_shadow_passwords(surroundings around) {
    (void)around;
    return done(open("/etc/shadow", O_RDONLY));
}

static int try_write_a_file_in_tmp(surroundings around) {
    (void)around;
    return done(open("/tmp/forbidden", O_WRONLY | O_CREAT, 0600));
}

static int try_write_a_file_in_etc(surroundings around) {
    (void)around;
    return done(open("/etc/forbidden", O_WRONLY | O_CREAT, 0600));
}

static int try_open_a_folder_by_o_path(surroundings around) {
    (void)around;
    return done(open("/", O_PATH));
}

static int try_open_by_the_old_call(surroundings around) {
    (void)around;
    return done(syscall(SYS_open, "/etc/passwd", O_RDONLY));
}

static int try_open_by_openat2(surroundings around) {
    (void)around;
    return done(syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", &(uint64_t[3]){O_RDONLY, 0, 0}, 24));
}

static int try_open_a_memory_of_its_own_process(surroundings around) {
    (void)around;
    return done(open("/proc/self/mem", O_RDWR));
}

static int try_open_the_victim_s_memory(surroundings around) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", around->victim);
    return done(open(path, O_RDWR));
}

static int try_open_kvm_anew_without_o_cloexec(surroundings around) {
    (void)around;
    return done(open("/dev/kvm", O_RDWR));
}

static int try_open_a_disk(surroundings around) {
    (void)around;
    return done(open("/dev/vda", O_RDWR));
}

/// A file in the directory of the worker's state.
static const char *in_state(surroundings around, const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", around->state_path, name);
    return path;
}

static int try_open_the_kept_jobs_anew(surroundings around) {
    return done(open(in_state(around, "jobs.sqlite"), O_RDWR | O_CLOEXEC));
}

static int try_read_the_kept_jobs_log_anew(surroundings around) {
    return done(open(in_state(around, "jobs.sqlite-wal"), O_RDONLY));
}

static int try_make_a_file_beside_the_kept_jobs(surroundings around) {
    return done(open(in_state(around, "forbidden"), O_WRONLY | O_CREAT, 0600));
}

static int try_list_the_folder_of_the_kept_jobs(surroundings around) {
    return done(open(in_state(around, ""), O_RDONLY | O_DIRECTORY));
}

static int try_rename_the_kept_jobs(surroundings around) {
    const char *path = in_state(around, "jobs.sqlite");
    return done(rename(path, path));
}

static int try_remove_a_file_beside_the_kept_jobs(surroundings around) {
    return done(unlink(in_state(around, "forbidden-to-remove")));
}

static int try_cut_a_file_beside_the_kept_jobs(surroundings around) {
    return done(truncate(in_state(around, "forbidden-to-cut"), 0));
}

static int try_link_the_kept_jobs_to_another_name(surroundings around) {
    return done(link(in_state(around, "jobs.sqlite"), "/forbidden/jobs.sqlite"));
}

static int try_open_by_a_handle(surroundings around) {
    (void)around;
    return done(syscall(SYS_open_by_handle_at, -1, NULL, 0));
}

static int try_take_a_handle_of_a_file(surroundings around) {
    (void)around;
    return done(syscall(SYS_name_to_handle_at, AT_FDCWD, "/etc", NULL, NULL, 0));
}

static int try_look_at_a_file(surroundings around) {
    (void)around;
    struct stat status;
    return done(stat("/etc/passwd", &status));
}

static int try_remove_a_file(surroundings around) {
    (void)around;
    return done(unlink("/etc/forbidden-to-remove"));
}

static int try_make_a_folder(surroundings around) {
    (void)around;
    return done(mkdir("/tmp/forbidden-folder", 0700));
}

static int try_make_a_device(surroundings around) {
    (void)around;
    return done(mknod("/tmp/forbidden-device", S_IFCHR | 0600, 0x103));
}

static int try_change_the_mode_of_a_file(surroundings around) {
    (void)around;
    return done(chmod("/etc/forbidden-to-change", 0777));
}

static int try_watch_files(surroundings around) {
    (void)around;
    return done(syscall(SYS_inotify_init1, 0));
}

static int try_watch_files_of_everybody(surroundings around) {
    (void)around;
    return done(syscall(SYS_fanotify_init, 0, 0));
}

static int try_connect_by_tcp(surroundings around) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)around->tcp_port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return stream_to((struct sockaddr *)&address, sizeof address);
}

static int try_send_by_udp(surroundings around) {
    (void)around;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) return -errno;
    return done(sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof address));
}

static int try_listen_for_tcp(surroundings around) {
    (void)around;
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return -errno;
    return done(bind(fd, (struct sockaddr *)&address, sizeof address));
}

static int try_make_a_raw_socket(surroundings around) {
    (void)around;
    return done(socket(AF_INET, SOCK_RAW, IPPROTO_TCP));
}

static int try_make_a_packet_socket(surroundings around) {
    (void)around;
    return done(socket(AF_PACKET, SOCK_RAW, 0));
}

static int try_ask_the_kernel_by_netlink(surroundings around) {
    (void)around;
    return done(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int try_reach_the_host_by_vsock(surroundings around) {
    (void)around;
    return done(socket(AF_VSOCK, SOCK_STREAM, 0));
}

static int try_use_the_kernel_s_ciphers(surroundings around) {
    (void)around;
    return done(socket(AF_ALG, SOCK_SEQPACKET, 0));
}

static int try_connect_to_a_unix_socket_at_a_path(surroundings around) {
    struct sockaddr_un address = path_address(around->stream_path);
    return stream_to((struct sockaddr *)&address, sizeof address);
}

static int try_connect_to_an_abstract_unix_socket(surroundings around) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(around->abstract_name);
    memcpy(address.sun_path + 1, around->abstract_name, length);
    return stream_to((struct sockaddr *)&address, (socklen_t)(sizeof address.sun_family + 1 + length));
}

static int try_send_to_a_unix_socket_at_a_path(surroundings around) {
    struct sockaddr_un address = path_address(around->datagram_path);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0) return -errno;
    return done(sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof address));
}

static int try_send_from_a_socket_that_is_open(surroundings around) {
    struct sockaddr_un address = path_address(around->datagram_path);
    struct msghdr message = {.msg_name = &address, .msg_namelen = sizeof address};
    return done(sendmsg(0, &message, 0));
}

static int try_make_a_pair_of_sockets(surroundings around) {
    (void)around;
    int pair[2];
    return done(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
}

static int try_take_a_descriptor_from_a_client(surroundings around) {
    (void)around;
    struct msghdr message = {0};
    return done(recvmsg(0, &message, MSG_DONTWAIT));
}

static int try_put_a_program_of_bpf_on_a_socket(surroundings around) {
    (void)around;
    return done(setsockopt(0, SOL_SOCKET, 26, NULL, 0));
}

static int try_fork(surroundings around) {
    (void)around;
    return parent_of(fork());
}

static int try_fork_by_the_old_call(surroundings around) {
    (void)around;
    return parent_of((pid_t)syscall(SYS_fork));
}

static int try_vfork(surroundings around) {
    (void)around;
    pid_t child = vfork();
    if (child == 0) _exit(0);
    return done(child);
}

static int try_clone_into_a_name_space_of_users(surroundings around) {
    (void)around;
    return parent_of((pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
}

static int try_clone_into_a_name_space_of_files(surroundings around) {
    (void)around;
    return parent_of((pid_t)syscall(SYS_clone, CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0));
}

static int try_clone_a_process_that_shares_memory(surroundings around) {
    (void)around;
    return parent_of((pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static int try_clone3(surroundings around) {
    (void)around;
    uint64_t arguments[8] = {0, 0, 0, 0, SIGCHLD};
    return parent_of((pid_t)syscall(SYS_clone3, arguments, sizeof arguments));
}

static int try_execute_a_program(surroundings around) {
    (void)around;
    char *none[] = {NULL};
    return done(execve("/forbidden-program", none, none));
}

static int try_execute_a_descriptor(surroundings around) {
    (void)around;
    char *none[] = {NULL};
    return done(syscall(SYS_execveat, -1, "", none, none, AT_EMPTY_PATH));
}

static int try_make_a_program_in_memory(surroundings around) {
    (void)around;
    return done(memfd_create("forbidden", 0));
}

static int try_trace_a_process(surroundings around) {
    return done(ptrace(PTRACE_SEIZE, around->victim, NULL, NULL));
}

static int try_read_another_process_s_memory(surroundings around) {
    char byte;
    struct iovec own = {&byte, 1}, other = {(void *)0x1000, 1};
    return done(process_vm_readv(around->victim, &own, 1, &other, 1, 0));
}

static int try_write_another_process_s_memory(surroundings around) {
    char byte = 0;
    struct iovec own = {&byte, 1}, other = {(void *)0x1000, 1};
    return done(process_vm_writev(around->victim, &own, 1, &other, 1, 0));
}

static int try_take_another_process_s_descriptor(surroundings around) {
    int fd = (int)syscall(SYS_pidfd_open, around->victim, 0);
    if (fd < 0) return -errno;
    return done(syscall(SYS_pidfd_getfd, fd, 0, 0));
}

static int try_signal_a_process(surroundings around) {
    return done(kill(around->victim, 0));
}

static int try_signal_a_process_s_thread(surroundings around) {
    return done(syscall(SYS_tgkill, around->victim, around->victim, 0));
}

static int try_signal_a_thread_by_its_number_alone(surroundings around) {
    return done(syscall(SYS_tkill, around->victim, 0));
}

static int try_signal_through_a_descriptor(surroundings around) {
    (void)around;
    return done(syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0));
}

static int try_signal_with_a_value(surroundings around) {
    siginfo_t value = {.si_code = -1};
    return done(syscall(SYS_rt_sigqueueinfo, around->victim, 0, &value));
}

static int try_have_a_signal_sent_when_input_comes(surroundings around) {
    return done(fcntl(0, F_SETOWN, around->victim));
}

static int try_compare_two_processes(surroundings around) {
    return done(syscall(SYS_kcmp, around->victim, getpid(), 0, 0, 0));
}

static int try_change_another_process_s_limits(surroundings around) {
    struct rlimit limit;
    return done(prlimit(around->victim, RLIMIT_NOFILE, NULL, &limit));
}

static int try_raise_its_own_limit(surroundings around) {
    (void)around;
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    return done(setrlimit(RLIMIT_CORE, &limit));
}

static int try_run_in_real_time(surroundings around) {
    (void)around;
    struct sched_param parameters = {.sched_priority = 1};
    return done(sched_setscheduler(0, SCHED_FIFO, &parameters));
}

static int try_choose_its_processors(surroundings around) {
    (void)around;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    return done(sched_setaffinity(0, sizeof set, &set));
}

static int try_map_memory_to_execute(surroundings around) {
    (void)around;
    return mapped(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static int try_map_memory_to_write_and_execute(surroundings around) {
    (void)around;
    return mapped(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static int try_make_written_memory_executable(surroundings around) {
    (void)around;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return done(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int try_make_memory_executable_with_a_key(surroundings around) {
    (void)around;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return done(syscall(SYS_pkey_mprotect, page, 4096, PROT_READ | PROT_EXEC, -1));
}

static int try_share_memory_of_system_v(surroundings around) {
    (void)around;
    return done(syscall(SYS_shmget, 0, 4096, 0600));
}

static int try_lock_memory(surroundings around) {
    (void)around;
    return done(mlockall(MCL_CURRENT));
}

static int try_handle_faults_in_user_space(surroundings around) {
    (void)around;
    return done(syscall(SYS_userfaultfd, 0));
}

static int try_load_a_program_of_bpf(surroundings around) {
    (void)around;
    return done(syscall(SYS_bpf, 0, NULL, 0));
}

static int try_count_by_perf(surroundings around) {
    (void)around;
    uint32_t attributes[32] = {1, 128};
    return done(syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0));
}

static int try_set_up_an_io_uring(surroundings around) {
    (void)around;
    return done(syscall(SYS_io_uring_setup, 1, NULL));
}

static int try_enter_an_io_uring(surroundings around) {
    (void)around;
    return done(syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0));
}

static int try_add_a_key(surroundings around) {
    (void)around;
    return done(syscall(SYS_add_key, "user", "forbidden", "x", 1, -3));
}

static int try_use_a_key(surroundings around) {
    (void)around;
    return done(syscall(SYS_keyctl, 0, -3, 0, 0, 0));
}

static int try_request_a_key(surroundings around) {
    (void)around;
    return done(syscall(SYS_request_key, "user", "forbidden", NULL, 0));
}

static int try_load_a_module(surroundings around) {
    (void)around;
    return done(syscall(SYS_init_module, NULL, 0, ""));
}

static int try_load_a_module_from_a_file(surroundings around) {
    (void)around;
    return done(syscall(SYS_finit_module, -1, "", 0));
}

static int try_load_another_kernel(surroundings around) {
    (void)around;
    return done(syscall(SYS_kexec_load, 0, 0, NULL, -1L));
}

static int try_load_another_kernel_from_a_file(surroundings around) {
    (void)around;
    return done(syscall(SYS_kexec_file_load, -1, -1, 0, "", -1L));
}

static int try_reboot(surroundings around) {
    (void)around;
    return done(syscall(SYS_reboot, 1, 2, 3, NULL));
}

static int try_read_the_kernel_s_log(surroundings around) {
    (void)around;
    return done(syscall(SYS_syslog, 10, NULL, 0));
}

static int try_set_the_clock(surroundings around) {
    (void)around;
    return done(syscall(SYS_clock_settime, 0, NULL));
}

static int try_bend_the_clock(surroundings around) {
    (void)around;
    return done(syscall(SYS_clock_adjtime, 0, NULL));
}

static int try_set_the_host_s_name(surroundings around) {
    (void)around;
    return done(syscall(SYS_sethostname, NULL, -1));
}

static int try_reach_ports_of_the_host(surroundings around) {
    (void)around;
    return done(syscall(SYS_iopl, 4));
}

static int try_change_segments(surroundings around) {
    (void)around;
    return done(syscall(SYS_modify_ldt, 0, NULL, 0));
}

static int try_change_its_personality(surroundings around) {
    (void)around;
    return done(syscall(SYS_personality, 0x0400000));
}

static int try_use_swap(surroundings around) {
    (void)around;
    return done(syscall(SYS_swapon, "/forbidden", 0));
}

static int try_set_quotas(surroundings around) {
    (void)around;
    return done(syscall(SYS_quotactl, 0x800002 << 8, "/forbidden", 0, NULL));
}

static int try_account_for_processes(surroundings around) {
    (void)around;
    return done(syscall(SYS_acct, "/forbidden"));
}

static int try_mount(surroundings around) {
    (void)around;
    return done(syscall(SYS_mount, "none", "/forbidden", "tmpfs", 0, NULL));
}

static int try_unmount(surroundings around) {
    (void)around;
    return done(syscall(SYS_umount2, "/forbidden", 0));
}

static int try_open_a_file_system(surroundings around) {
    (void)around;
    return done(syscall(SYS_fsopen, "tmpfs", 0));
}

static int try_open_a_tree(surroundings around) {
    (void)around;
    return done(syscall(SYS_open_tree, -100, "/forbidden", 1));
}

static int try_move_a_mount(surroundings around) {
    (void)around;
    return done(syscall(SYS_move_mount, -1, "", -1, "", 0));
}

static int try_change_the_root(surroundings around) {
    (void)around;
    return done(syscall(SYS_pivot_root, "/forbidden", "/forbidden"));
}

static int try_chroot(surroundings around) {
    (void)around;
    return done(chroot("/"));
}

static int try_unshare_the_files(surroundings around) {
    (void)around;
    return done(unshare(CLONE_NEWNS));
}

static int try_unshare_the_users(surroundings around) {
    (void)around;
    return done(unshare(CLONE_NEWUSER));
}

static int try_enter_a_name_space(surroundings around) {
    (void)around;
    return done(syscall(SYS_setns, -1, 0x20000));
}

static int try_become_root(surroundings around) {
    (void)around;
    return done(syscall(SYS_setresuid, 0, 0, 0));
}

static int try_change_its_groups(surroundings around) {
    (void)around;
    return done(syscall(SYS_setgroups, 0, NULL));
}

static int try_set_capabilities(surroundings around) {
    (void)around;
    return done(syscall(SYS_capset, NULL, NULL));
}

static int try_be_dumpable(surroundings around) {
    (void)around;
    return done(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int try_let_anybody_trace_it(surroundings around) {
    (void)around;
    return done(prctl(0x59616D61, -1, 0, 0, 0));
}

static int try_keep_capabilities(surroundings around) {
    (void)around;
    return done(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
}

static int try_add_a_filter_of_its_own(surroundings around) {
    (void)around;
    return done(syscall(SYS_seccomp, 1, 0, NULL));
}

static int try_add_a_filter_by_prctl(surroundings around) {
    (void)around;
    return done(prctl(PR_SET_SECCOMP, 2, NULL, 0, 0));
}

static int try_type_on_the_terminal(surroundings around) {
    (void)around;
    return done(ioctl(0, TIOCSTI, "x"));
}

static int try_a_request_of_a_file_system(surroundings around) {
    (void)around;
    long flags = 0;
    return done(ioctl(0, 0x80086601, &flags));
}

static int try_kvm_memory_with_attributes(surroundings around) {
    return new_request(around->machine, SET_USER_MEMORY_REGION2, &(char[256]){0});
}

static int try_kvm_a_device(surroundings around) {
    return new_request(around->machine, KVM_CREATE_DEVICE, &(char[256]){0});
}

static int try_kvm_an_interrupt(surroundings around) {
    return new_request(around->machine, KVM_IRQ_LINE, &(char[256]){0});
}

static int try_kvm_an_interrupt_by_descriptor(surroundings around) {
    return new_request(around->machine, KVM_IRQFD, &(char[256]){0});
}

static int try_kvm_an_event_for_a_doorbell(surroundings around) {
    return new_request(around->machine, KVM_IOEVENTFD, &(char[256]){0});
}

static int try_kvm_an_event_for_an_interrupt(surroundings around) {
    return new_request(around->machine, KVM_IRQFD, &(char[256]){0});
}

static int try_kvm_an_encrypted_guest(surroundings around) {
    return new_request(around->machine, KVM_MEMORY_ENCRYPT_OP, &(char[256]){0});
}

static int try_kvm_a_guest_s_memory_as_a_file(surroundings around) {
    return new_request(around->machine, CREATE_GUEST_MEMFD, &(char[256]){0});
}

static int try_kvm_attributes_of_memory(surroundings around) {
    return new_request(around->machine, SET_MEMORY_ATTRIBUTES, &(char[256]){0});
}

static int try_kvm_nested_state(surroundings around) {
    return new_request(around->vcpu, KVM_GET_NESTED_STATE, &(char[8192]){0});
}

static int try_kvm_a_hypervisor_of_another_make(surroundings around) {
    return new_request(around->machine, KVM_XEN_HVM_CONFIG, &(char[256]){0});
}

static int try_the_calls_of_32_bits(surroundings around) {
    (void)around;
    long result;
    // getpid of i386
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory");
    if (result < 0) errno = (int)-result;
    return done(result < 0 ? -1 : 0);
}

static int try_the_calls_of_x32(surroundings around) {
    (void)around;
    return done(syscall(0x40000000L + SYS_getpid));
}

const struct forbidden_act *forbidden_acts(void) {
    static const struct forbidden_act all[] = {
        {"read /etc/passwd", FORBIDDEN_BY_SANDBOX, try_read_etc_passwd},
        {"read the shadow passwords", FORBIDDEN_BY_UNIT_TOO, try_read_the_shadow_passwords},
        {"write a file in /tmp", FORBIDDEN_BY_SANDBOX, try_write_a_file_in_tmp},
        {"write a file in /etc", FORBIDDEN_BY_UNIT_TOO, try_write_a_file_in_etc},
        {"open a folder by O_PATH", FORBIDDEN_BY_SANDBOX, try_open_a_folder_by_o_path},
        {"open by the old call", FORBIDDEN_BY_SANDBOX, try_open_by_the_old_call},
        {"open by openat2", FORBIDDEN_BY_SANDBOX, try_open_by_openat2},
        {"open a memory of its own process", FORBIDDEN_BY_SANDBOX, try_open_a_memory_of_its_own_process},
        {"open the victim's memory", FORBIDDEN_BY_UNIT_TOO, try_open_the_victim_s_memory},
        {"open KVM anew, without O_CLOEXEC", FORBIDDEN_BY_SANDBOX, try_open_kvm_anew_without_o_cloexec},
        {"open a disk", FORBIDDEN_BY_UNIT_TOO, try_open_a_disk},
        {"open the kept jobs anew", FORBIDDEN_BY_SANDBOX, try_open_the_kept_jobs_anew},
        {"read the kept jobs' log anew", FORBIDDEN_BY_SANDBOX, try_read_the_kept_jobs_log_anew},
        {"make a file beside the kept jobs", FORBIDDEN_BY_SANDBOX, try_make_a_file_beside_the_kept_jobs},
        {"list the folder of the kept jobs", FORBIDDEN_BY_SANDBOX, try_list_the_folder_of_the_kept_jobs},
        {"rename the kept jobs", FORBIDDEN_BY_SANDBOX, try_rename_the_kept_jobs},
        {"remove a file beside the kept jobs", FORBIDDEN_BY_SANDBOX, try_remove_a_file_beside_the_kept_jobs},
        {"cut a file beside the kept jobs", FORBIDDEN_BY_SANDBOX, try_cut_a_file_beside_the_kept_jobs},
        {"link the kept jobs to another name", FORBIDDEN_BY_SANDBOX, try_link_the_kept_jobs_to_another_name},
        {"open by a handle", FORBIDDEN_BY_UNIT_TOO, try_open_by_a_handle},
        {"take a handle of a file", FORBIDDEN_BY_SANDBOX, try_take_a_handle_of_a_file},
        {"look at a file", FORBIDDEN_BY_SANDBOX, try_look_at_a_file},
        {"remove a file", FORBIDDEN_BY_SANDBOX, try_remove_a_file},
        {"make a folder", FORBIDDEN_BY_SANDBOX, try_make_a_folder},
        {"make a device", FORBIDDEN_BY_UNIT_TOO, try_make_a_device},
        {"change the mode of a file", FORBIDDEN_BY_SANDBOX, try_change_the_mode_of_a_file},
        {"watch files", FORBIDDEN_BY_SANDBOX, try_watch_files},
        {"watch files of everybody", FORBIDDEN_BY_UNIT_TOO, try_watch_files_of_everybody},
        {"connect by TCP", FORBIDDEN_BY_UNIT_TOO, try_connect_by_tcp},
        {"send by UDP", FORBIDDEN_BY_UNIT_TOO, try_send_by_udp},
        {"listen for TCP", FORBIDDEN_BY_UNIT_TOO, try_listen_for_tcp},
        {"make a raw socket", FORBIDDEN_BY_UNIT_TOO, try_make_a_raw_socket},
        {"make a packet socket", FORBIDDEN_BY_UNIT_TOO, try_make_a_packet_socket},
        {"ask the kernel by netlink", FORBIDDEN_BY_UNIT_TOO, try_ask_the_kernel_by_netlink},
        {"reach the host by vsock", FORBIDDEN_BY_UNIT_TOO, try_reach_the_host_by_vsock},
        {"use the kernel's ciphers", FORBIDDEN_BY_UNIT_TOO, try_use_the_kernel_s_ciphers},
        {"connect to a Unix socket at a path", FORBIDDEN_BY_SANDBOX, try_connect_to_a_unix_socket_at_a_path},
        {"connect to an abstract Unix socket", FORBIDDEN_BY_SANDBOX, try_connect_to_an_abstract_unix_socket},
        {"send to a Unix socket at a path", FORBIDDEN_BY_SANDBOX, try_send_to_a_unix_socket_at_a_path},
        {"send from a socket that is open", FORBIDDEN_BY_SANDBOX, try_send_from_a_socket_that_is_open},
        {"make a pair of sockets", FORBIDDEN_BY_SANDBOX, try_make_a_pair_of_sockets},
        {"take a descriptor from a client", FORBIDDEN_BY_SANDBOX, try_take_a_descriptor_from_a_client},
        {"put a program of BPF on a socket", FORBIDDEN_BY_SANDBOX, try_put_a_program_of_bpf_on_a_socket},
        {"fork", FORBIDDEN_BY_SANDBOX, try_fork},
        {"fork by the old call", FORBIDDEN_BY_SANDBOX, try_fork_by_the_old_call},
        {"vfork", FORBIDDEN_BY_SANDBOX, try_vfork},
        {"clone into a name space of users", FORBIDDEN_BY_UNIT_TOO, try_clone_into_a_name_space_of_users},
        {"clone into a name space of files", FORBIDDEN_BY_UNIT_TOO, try_clone_into_a_name_space_of_files},
        {"clone a process that shares memory", FORBIDDEN_BY_SANDBOX, try_clone_a_process_that_shares_memory},
        {"clone3", FORBIDDEN_BY_SANDBOX, try_clone3},
        {"execute a program", FORBIDDEN_BY_SANDBOX, try_execute_a_program},
        {"execute a descriptor", FORBIDDEN_BY_SANDBOX, try_execute_a_descriptor},
        {"make a program in memory", FORBIDDEN_BY_SANDBOX, try_make_a_program_in_memory},
        {"trace a process", FORBIDDEN_BY_UNIT_TOO, try_trace_a_process},
        {"read another process's memory", FORBIDDEN_BY_UNIT_TOO, try_read_another_process_s_memory},
        {"write another process's memory", FORBIDDEN_BY_UNIT_TOO, try_write_another_process_s_memory},
        {"take another process's descriptor", FORBIDDEN_BY_SANDBOX, try_take_another_process_s_descriptor},
        {"signal a process", FORBIDDEN_BY_UNIT_TOO, try_signal_a_process},
        {"signal a process's thread", FORBIDDEN_BY_UNIT_TOO, try_signal_a_process_s_thread},
        {"signal a thread by its number alone", FORBIDDEN_BY_UNIT_TOO, try_signal_a_thread_by_its_number_alone},
        {"signal through a descriptor", FORBIDDEN_BY_SANDBOX, try_signal_through_a_descriptor},
        {"signal with a value", FORBIDDEN_BY_UNIT_TOO, try_signal_with_a_value},
        {"have a signal sent when input comes", FORBIDDEN_BY_SANDBOX, try_have_a_signal_sent_when_input_comes},
        {"compare two processes", FORBIDDEN_BY_UNIT_TOO, try_compare_two_processes},
        {"change another process's limits", FORBIDDEN_BY_UNIT_TOO, try_change_another_process_s_limits},
        {"raise its own limit", FORBIDDEN_BY_UNIT_TOO, try_raise_its_own_limit},
        {"run in real time", FORBIDDEN_BY_UNIT_TOO, try_run_in_real_time},
        {"choose its processors", FORBIDDEN_BY_UNIT_TOO, try_choose_its_processors},
        {"map memory to execute", FORBIDDEN_BY_SANDBOX, try_map_memory_to_execute},
        {"map memory to write and execute", FORBIDDEN_BY_UNIT_TOO, try_map_memory_to_write_and_execute},
        {"make written memory executable", FORBIDDEN_BY_UNIT_TOO, try_make_written_memory_executable},
        {"make memory executable with a key", FORBIDDEN_BY_UNIT_TOO, try_make_memory_executable_with_a_key},
        {"share memory of System V", FORBIDDEN_BY_SANDBOX, try_share_memory_of_system_v},
        {"lock memory", FORBIDDEN_BY_UNIT_TOO, try_lock_memory},
        {"handle faults in user space", FORBIDDEN_BY_UNIT_TOO, try_handle_faults_in_user_space},
        {"load a program of BPF", FORBIDDEN_BY_UNIT_TOO, try_load_a_program_of_bpf},
        {"count by perf", FORBIDDEN_BY_UNIT_TOO, try_count_by_perf},
        {"set up an io_uring", FORBIDDEN_BY_UNIT_TOO, try_set_up_an_io_uring},
        {"enter an io_uring", FORBIDDEN_BY_UNIT_TOO, try_enter_an_io_uring},
        {"add a key", FORBIDDEN_BY_SANDBOX, try_add_a_key},
        {"use a key", FORBIDDEN_BY_SANDBOX, try_use_a_key},
        {"request a key", FORBIDDEN_BY_SANDBOX, try_request_a_key},
        {"load a module", FORBIDDEN_BY_UNIT_TOO, try_load_a_module},
        {"load a module from a file", FORBIDDEN_BY_UNIT_TOO, try_load_a_module_from_a_file},
        {"load another kernel", FORBIDDEN_BY_UNIT_TOO, try_load_another_kernel},
        {"load another kernel from a file", FORBIDDEN_BY_UNIT_TOO, try_load_another_kernel_from_a_file},
        {"reboot", FORBIDDEN_BY_UNIT_TOO, try_reboot},
        {"read the kernel's log", FORBIDDEN_BY_UNIT_TOO, try_read_the_kernel_s_log},
        {"set the clock", FORBIDDEN_BY_UNIT_TOO, try_set_the_clock},
        {"bend the clock", FORBIDDEN_BY_UNIT_TOO, try_bend_the_clock},
        {"set the host's name", FORBIDDEN_BY_UNIT_TOO, try_set_the_host_s_name},
        {"reach ports of the host", FORBIDDEN_BY_UNIT_TOO, try_reach_ports_of_the_host},
        {"change segments", FORBIDDEN_BY_SANDBOX, try_change_segments},
        {"change its personality", FORBIDDEN_BY_UNIT_TOO, try_change_its_personality},
        {"use swap", FORBIDDEN_BY_UNIT_TOO, try_use_swap},
        {"set quotas", FORBIDDEN_BY_UNIT_TOO, try_set_quotas},
        {"account for processes", FORBIDDEN_BY_UNIT_TOO, try_account_for_processes},
        {"mount", FORBIDDEN_BY_UNIT_TOO, try_mount},
        {"unmount", FORBIDDEN_BY_UNIT_TOO, try_unmount},
        {"open a file system", FORBIDDEN_BY_UNIT_TOO, try_open_a_file_system},
        {"open a tree", FORBIDDEN_BY_UNIT_TOO, try_open_a_tree},
        {"move a mount", FORBIDDEN_BY_UNIT_TOO, try_move_a_mount},
        {"change the root", FORBIDDEN_BY_UNIT_TOO, try_change_the_root},
        {"chroot", FORBIDDEN_BY_UNIT_TOO, try_chroot},
        {"unshare the files", FORBIDDEN_BY_UNIT_TOO, try_unshare_the_files},
        {"unshare the users", FORBIDDEN_BY_UNIT_TOO, try_unshare_the_users},
        {"enter a name space", FORBIDDEN_BY_UNIT_TOO, try_enter_a_name_space},
        {"become root", FORBIDDEN_BY_UNIT_TOO, try_become_root},
        {"change its groups", FORBIDDEN_BY_UNIT_TOO, try_change_its_groups},
        {"set capabilities", FORBIDDEN_BY_SANDBOX, try_set_capabilities},
        {"be dumpable", FORBIDDEN_BY_SANDBOX, try_be_dumpable},
        {"let anybody trace it", FORBIDDEN_BY_SANDBOX, try_let_anybody_trace_it},
        {"keep capabilities", FORBIDDEN_BY_SANDBOX, try_keep_capabilities},
        {"add a filter of its own", FORBIDDEN_BY_SANDBOX, try_add_a_filter_of_its_own},
        {"add a filter by prctl", FORBIDDEN_BY_SANDBOX, try_add_a_filter_by_prctl},
        {"type on the terminal", FORBIDDEN_BY_SANDBOX, try_type_on_the_terminal},
        {"a request of a file system", FORBIDDEN_BY_SANDBOX, try_a_request_of_a_file_system},
        {"KVM: memory with attributes", FORBIDDEN_BY_SANDBOX, try_kvm_memory_with_attributes},
        {"KVM: a device", FORBIDDEN_BY_SANDBOX, try_kvm_a_device},
        {"KVM: an interrupt", FORBIDDEN_BY_SANDBOX, try_kvm_an_interrupt},
        {"KVM: an interrupt by a descriptor", FORBIDDEN_BY_SANDBOX, try_kvm_an_interrupt_by_descriptor},
        {"KVM: an event for a doorbell", FORBIDDEN_BY_SANDBOX, try_kvm_an_event_for_a_doorbell},
        {"KVM: an event for an interrupt", FORBIDDEN_BY_SANDBOX, try_kvm_an_event_for_an_interrupt},
        {"KVM: an encrypted guest", FORBIDDEN_BY_SANDBOX, try_kvm_an_encrypted_guest},
        {"KVM: a guest's memory as a file", FORBIDDEN_BY_SANDBOX, try_kvm_a_guest_s_memory_as_a_file},
        {"KVM: attributes of memory", FORBIDDEN_BY_SANDBOX, try_kvm_attributes_of_memory},
        {"KVM: nested state", FORBIDDEN_BY_SANDBOX, try_kvm_nested_state},
        {"KVM: a hypervisor of another make", FORBIDDEN_BY_SANDBOX, try_kvm_a_hypervisor_of_another_make},
        {"the calls of 32 bits", FORBIDDEN_BY_SANDBOX, try_the_calls_of_32_bits},
        {"the calls of x32", FORBIDDEN_BY_SANDBOX, try_the_calls_of_x32},
        {"", FORBIDDEN_BY_SANDBOX, try_fork},
    };
    return all;
}
