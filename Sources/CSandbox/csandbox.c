// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
#define _GNU_SOURCE
#include "csandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(void) { return -errno; }

int csandbox_set_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? fail() : 0; }

int csandbox_empty_standard_input(void) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail();
    if (fd == STDIN_FILENO) return 0;
    int result = dup2(fd, STDIN_FILENO) < 0 ? fail() : 0;
    close(fd);
    return result;
}

int csandbox_count_threads(void) {
    // A folder's links are its folders, "." and ".." among them; here one for each thread.
    struct stat status;
    if (stat("/proc/self/task", &status) < 0) return fail();
    return (int)status.st_nlink - 2;
}

// seccomp

static uint32_t action(enum csandbox_answer answer, int error) {
    switch (answer) {
    case CSANDBOX_ALLOW: return SCMP_ACT_ALLOW;
    case CSANDBOX_FAIL: return SCMP_ACT_ERRNO((uint32_t)error);
    case CSANDBOX_KILL: break;
    }
    return SCMP_ACT_KILL_PROCESS;
}

/// All threads at once; a search tree over the calls' numbers instead of a list; the kernel's own error numbers.
static int set_up(scmp_filter_ctx filter) {
    int result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (result == 0) result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (result == 0) result = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
    if (result == 0) result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    return result;
}

int csandbox_filter_begin(void **filter, enum csandbox_answer answer, int error) {
    scmp_filter_ctx made = seccomp_init(action(answer, error));
    if (!made) return -ENOMEM;
    int result = set_up(made);
    if (result < 0) {
        seccomp_release(made);
        return result;
    }
    *filter = made;
    return 0;
}

int csandbox_filter_add(
    void *filter, enum csandbox_answer answer, int error, const char *name, const struct csandbox_condition *conditions,
    unsigned count) {
    enum { MOST = 6 };
    struct scmp_arg_cmp comparisons[MOST];
    int call = seccomp_syscall_resolve_name(name);
    if (call == __NR_SCMP_ERROR) return -ENOENT;
    if (count > MOST) return -E2BIG;
    for (unsigned i = 0; i < count; i++) {
        int is_masked = conditions[i].comparison == CSANDBOX_MASKED_EQUAL;
        comparisons[i] = (struct scmp_arg_cmp){
            .arg = conditions[i].argument,
            .op = is_masked ? SCMP_CMP_MASKED_EQ : SCMP_CMP_NE,
            .datum_a = is_masked ? conditions[i].mask : conditions[i].value,
            .datum_b = is_masked ? conditions[i].value : 0,
        };
    }
    return seccomp_rule_add_array(filter, action(answer, error), call, count, comparisons);
}

int csandbox_filter_load(void *filter) { return seccomp_load(filter); }

int csandbox_filter_write(void *filter, int fd) { return seccomp_export_bpf(filter, fd); }

void csandbox_filter_release(void *filter) { seccomp_release(filter); }

// Landlock

// The kernel's numbers, for headers that are older than the kernel.
enum {
    EXECUTE_TO_REFER = (1 << 14) - 1,  // the rights of the first version, and "refer" of the second
    FIRST_RIGHTS = (1 << 13) - 1,
    TRUNCATE = 1 << 14,
    IOCTL_DEVICE = 1 << 15,
    BIND_AND_CONNECT_TCP = 3,
    SCOPE_ABSTRACT_SOCKETS = 1,
    SCOPE_SIGNALS = 2,
};

struct rules_attributes {
    uint64_t file_rights;
    uint64_t network_rights;
    uint64_t scopes;
};

int csandbox_landlock_version(void) {
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return version < 0 ? fail() : (int)version;
}

static uint64_t file_rights(int version) {
    uint64_t rights = version < 2 ? FIRST_RIGHTS : EXECUTE_TO_REFER;
    if (version >= 3) rights |= TRUNCATE;
    if (version >= 5) rights |= IOCTL_DEVICE;
    return rights;
}

int csandbox_landlock_begin(int version) {
    struct rules_attributes attributes = {.file_rights = file_rights(version)};
    if (version >= 4) attributes.network_rights = BIND_AND_CONNECT_TCP;
    if (version >= 6) attributes.scopes = SCOPE_SIGNALS | SCOPE_ABSTRACT_SOCKETS;
    // An older kernel takes a longer structure whose rest is zeros.
    long rules = syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
    return rules < 0 ? fail() : (int)rules;
}

int csandbox_landlock_permit(int rules, int version, const char *path, int writes) {
    struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE};
    if (writes) rule.allowed_access |= LANDLOCK_ACCESS_FS_WRITE_FILE | IOCTL_DEVICE;
    rule.allowed_access &= file_rights(version);
    rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0) return fail();
    int result = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? fail() : 0;
    close(rule.parent_fd);
    return result;
}

int csandbox_landlock_enter(int rules) {
    int result = syscall(SYS_landlock_restrict_self, rules, 0) < 0 ? fail() : 0;
    close(rules);
    return result;
}
