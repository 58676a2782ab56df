// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import Glibc
internal import NIOConcurrencyHelpers

/// Ctrl-C: the first stops the jobs, whose results still come; the second ends the process at once.
final class Interrupts {
    /// The status after the second: 128 and the signal's number, as shells have it.
    static let status: Int32 = 128 + SIGINT

    private let source: any DispatchSourceSignal

    /// Listens from now on, as long as this lives.
    init(first: @escaping @Sendable () -> Void) {
        let source = DispatchSource.makeSignalSource(signal: SIGINT, queue: DispatchQueue(label: "kvmjob.interrupts"))
        let isFirst = NIOLockedValueBox(true)
        source.setEventHandler { @Sendable in
            guard
                isFirst.withLockedValue({ first in
                    defer { first = false }; return first
                })
            else { exit(Self.status) }
            first()
        }
        source.activate()
        self.source = source
    }

    deinit { source.cancel() }
}
