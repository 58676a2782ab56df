// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import Glibc

/// Descriptors 0, 1 and 2, of which a caller can have closed some.
enum StandardStreams {
    /// What stands in for those that were closed, as long as the process lives: the next thing that is opened, a worker's socket even,
    /// would be taken for one of them.
    private static let standIns = (STDIN_FILENO...STDERR_FILENO).compactMap { descriptor in
        fcntl(descriptor, F_GETFD) == -1 ? FileHandle(forUpdatingAtPath: "/dev/null") : nil
    }

    /// Sees to it that all three are open. To be called before anything else is opened.
    static func open() { _ = standIns }
}
