// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Something small that a worker does for every job or every frame.
public struct Subject: Sendable {
    /// Unique among ``all``; no spaces.
    public let name: String
    /// Does it this often, each time from the same start. Traps when it did something else than it should.
    public let run: @Sendable (Int) -> Void

    init(_ name: String, _ run: @escaping @Sendable (Int) -> Void) { (self.name, self.run) = (name, run) }

    /// All that there are.
    public static let all = messages + frames + scheduling + conversations + machines
}
