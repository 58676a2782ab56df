// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A file of results, of any size, a line at a time.
struct ResultLines {
    /// The most bytes of a line: 256 MiB, which a job's most output and port writes fit in.
    static let lineLimit = 256 << 20

    let path: String
    /// What to call it in messages.
    let name: String

    /// Calls for each line that is not blank, in order.
    ///
    /// - Returns: whether there is a last line without a newline that is no result, as a writer leaves it that was killed.
    /// - Throws: ``CommandFailure``, with the number of the line where it is about one.
    func read(_ body: ([UInt8]) throws -> Void) async throws -> Bool {
        let source: ByteSource
        do { source = try ByteSource(path: path) } catch { throw failure(error) }
        var (pending, number) = ([UInt8](), 0)
        do {
            while let piece = try await source.next() {
                var rest = piece[...]
                while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                    number += 1
                    try take(pending + rest[..<end], number, body)
                    pending.removeAll(keepingCapacity: true)
                    rest = rest[(end + 1)...]
                }
                pending += rest
                guard pending.count <= Self.lineLimit else {
                    throw at(number + 1, "it is longer than \(SizeText.describe(UInt64(Self.lineLimit)))")
                }
            }
        } catch let reason as SystemReason {
            throw failure(reason)
        }
        do {
            try take(pending, number + 1, body)
            return false
        } catch let failure as CommandFailure where failure.status == ExitStatus.cannotRun {
            return true
        }
    }

    private func take(_ line: [UInt8], _ number: Int, _ body: ([UInt8]) throws -> Void) throws {
        guard !line.allSatisfy({ $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\r") }) else { return }
        do {
            try body(line)
        } catch let failure as CommandFailure where failure.status == ExitStatus.cannotRun {
            throw at(number, failure.message)
        }
    }

    private func at(_ line: Int, _ message: String) -> CommandFailure {
        CommandFailure(message: "\(name): line \(line): \(message)", status: ExitStatus.cannotRun)
    }

    private func failure(_ reason: SystemReason) -> CommandFailure {
        CommandFailure(message: "cannot read \(name): \(reason.text)", status: ExitStatus.cannotRun)
    }
}
