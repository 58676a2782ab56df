// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc
import Testing

@testable import Systemd

// The environment is the process's own business: tests that change it run in a process of their own.
struct ServiceNotifierTests {
    @Test func `all lines of one call travel in one datagram`() async {
        await #expect(processExitsWith: .success) {
            let (socket, address) = try UnixSocket.datagram()
            setenv("NOTIFY_SOCKET", address, 1)
            let sent = try ServiceNotifier().send([.ready, .status("2 slots"), .watchdog])
            let received = UnixSocket.receive(socket)
            #expect(sent)
            #expect(received == "READY=1\nSTATUS=2 slots\nWATCHDOG=1")
            #expect(UnixSocket.receive(socket) == nil)
        }
    }

    @Test func `a status text can not smuggle in another line`() async {
        await #expect(processExitsWith: .success) {
            let (socket, address) = try UnixSocket.datagram()
            setenv("NOTIFY_SOCKET", address, 1)
            try ServiceNotifier().send([.status("one\nSTOPPING=1")])
            #expect(UnixSocket.receive(socket) == "STATUS=one STOPPING=1")
        }
    }

    @Test func `without a service manager nothing is sent and nothing fails`() async {
        await #expect(processExitsWith: .success) {
            unsetenv("NOTIFY_SOCKET")
            unsetenv("WATCHDOG_USEC")
            let sent = try ServiceNotifier().send([.ready])
            let interval = try ServiceNotifier.watchdogInterval()
            #expect(!sent)
            #expect(interval == nil)
        }
    }

    @Test func `a service manager that is gone is an error that names the call`() async {
        await #expect(processExitsWith: .success) {
            setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1)
            #expect(throws: SystemCallError(call: "connect", code: ENOENT)) { try ServiceNotifier().send([.ready]) }
        }
    }

    @Test func `the watchdog interval is read in microseconds and only by the process it is meant for`() async {
        await #expect(processExitsWith: .success) {
            setenv("WATCHDOG_USEC", "30000000", 1)
            setenv("WATCHDOG_PID", "\(getpid())", 1)
            let ours = try ServiceNotifier.watchdogInterval()
            #expect(ours == .seconds(30))
            setenv("WATCHDOG_PID", "1", 1)
            let foreign = try ServiceNotifier.watchdogInterval()
            #expect(foreign == nil)
        }
    }

    @Test func `a status text is cut at its limit`() {
        let long = String(repeating: "é", count: ServiceNotifier.statusBytes)
        let line = ServiceNotifier.Line.status(long).text
        #expect(line.utf8.count == "STATUS=".utf8.count + ServiceNotifier.statusBytes)
    }
}
