// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Tells on a terminal that a program's files are on their way, if that takes so long that somebody wonders.
struct UploadNotice: Sendable {
    /// Bytes of all files; of those that the worker has, none is sent.
    let bytes: Int
    let console: Console

    /// How long it takes until somebody wonders: 1 s.
    static let patience = Duration.seconds(1)

    /// Submits, and takes the notice away when that is done.
    func whileSubmitting<Value: Sendable>(_ submit: () async throws -> Value) async throws -> Value {
        guard console.isTerminal else { return try await submit() }
        let notice = Task {
            try await Task.sleep(for: Self.patience)
            try await console.messages.write(Array("kvmjob: sending files, \(size) at most".utf8))
        }
        let value = await Result.catching(submit)
        notice.cancel()
        if case .success = await notice.result { try? await console.messages.write(Self.clearLine) }
        return try value.get()
    }

    private var size: String { "\((bytes + (1 << 20) - 1) >> 20) MiB" }

    /// To the first column, and all behind it gone.
    static let clearLine = Array("\r\u{1B}[K".utf8)
}
