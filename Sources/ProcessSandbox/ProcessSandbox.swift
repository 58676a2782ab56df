// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CSandbox
internal import Glibc

/// The sandbox that a worker puts itself into, so that a guest who breaks out of KVM and owns the process gets nothing more.
///
/// It closes in two steps, for Landlock holds for the thread that enters it and for those which that one starts: ``closeFiles()``
/// while there is one thread, and ``closeCalls(keepsJobs:)``, which reaches every thread, once all is open that will be needed. What is open
/// stays so. Nothing opens the sandbox again.
public enum ProcessSandbox {
    /// What the worker opens after ``closeFiles()``: KVM, and its own page map, by which a snapshot is found quickly.
    static let devices = ["/dev/kvm"]
    static let readable = ["/proc/self/pagemap"]

    /// First step, before there are other threads: from here on no file can be opened but those of a worker's start, no TCP
    /// socket be bound or connected, nobody else be signalled, and no execve adds privileges. Descriptor 0 is the null device.
    ///
    /// What has to be connected, such as the sockets of the journal and of the service manager, is connected before.
    ///
    /// - Returns: the version of Landlock's interface that holds; what older ones leave open, ``closeCalls(keepsJobs:)`` closes as well.
    /// - Throws: ``SandboxError``; what was done until then holds, and ``closeCalls(keepsJobs:)`` may follow.
    @discardableResult
    public static func closeFiles() throws(SandboxError) -> Int32 {
        try SandboxError.check(csandbox_set_no_new_privileges(), "prctl PR_SET_NO_NEW_PRIVS")
        try SandboxError.check(csandbox_empty_standard_input(), "open /dev/null")
        let offered = try SandboxError.check(csandbox_landlock_version(), "landlock_create_ruleset")
        guard try SandboxError.check(csandbox_count_threads(), "stat /proc/self/task") == 1 else {
            throw SandboxError(step: "landlock_restrict_self would leave out threads", code: EBUSY)
        }
        // Dispatch does not survive a look at its threads that fails.
        try SystemCallFilter(.beginning).load()
        let version = min(offered, Int32(CSANDBOX_LANDLOCK_NEWEST))
        let rules = try SandboxError.check(csandbox_landlock_begin(version), "landlock_create_ruleset")
        for path in devices { try permit(path, writes: true, rules, version) }
        for path in readable { try permit(path, writes: false, rules, version) }
        try SandboxError.check(csandbox_landlock_enter(rules), "landlock_restrict_self")
        return version
    }

    /// Second step, behind ``closeFiles()``, when the worker is ready: from here on every thread can make the calls of
    /// ``SystemCallPolicy/worker(process:keepsJobs:)`` and no others.
    ///
    /// - Parameter keepsJobs: whether the process has the database of detached jobs open.
    /// - Throws: ``SandboxError``; nothing has changed then.
    public static func closeCalls(keepsJobs: Bool) throws(SandboxError) {
        try SystemCallFilter(.worker(process: getpid(), keepsJobs: keepsJobs)).load()
    }

    /// A file that is not there needs no permission.
    private static func permit(
        _ path: String, writes: Bool, _ rules: Int32, _ version: Int32
    ) throws(SandboxError) {
        // SAFETY: the path is a zero-terminated copy, valid during the call.
        let result = unsafe csandbox_landlock_permit(rules, version, path, writes ? 1 : 0)
        guard result != -ENOENT else { return }
        try SandboxError.check(result, "landlock_add_rule \(path)")
    }
}
