// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import Systemd

struct StateDirectoryTests {
    @Test func `of several state directories the first is meant`() {
        #expect(StateDirectory.first(of: "/var/lib/kvmjob") == "/var/lib/kvmjob")
        #expect(StateDirectory.first(of: "/var/lib/kvmjob:/var/lib/other") == "/var/lib/kvmjob")
        #expect(StateDirectory.first(of: "") == nil)
    }
}
