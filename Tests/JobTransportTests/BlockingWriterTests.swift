// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import Foundation
import JobTransport
import Testing

@Suite(.timeLimit(.minutes(1))) struct BlockingWriterTests {
    @Test func `a descriptor that somebody made non-blocking takes all bytes, whenever they are read`() async throws {
        let pipe = Pipe()
        let descriptor = pipe.fileHandleForWriting.fileDescriptor
        #expect(fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0)
        // Sixteen times what a pipe holds, so that there is no room most of the time.
        let bytes = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let written = Task {
            await withCheckedContinuation { continuation in
                DispatchQueue(label: "test.writer").async {
                    continuation.resume(returning: BlockingWriter(descriptor).write(bytes))
                    try? pipe.fileHandleForWriting.close()
                }
            }
        }
        let read = await withCheckedContinuation { continuation in
            DispatchQueue(label: "test.reader").async {
                continuation.resume(returning: try? pipe.fileHandleForReading.readToEnd())
            }
        }
        #expect(read == Data(bytes))
        #expect(await written.value == 0)
    }

    @Test func `what went wrong is told`() throws {
        let full = try FileHandle(forWritingTo: URL(fileURLWithPath: "/dev/full"))
        #expect(BlockingWriter(full.fileDescriptor).write([1]) == ENOSPC)
        #expect(BlockingWriter(full.fileDescriptor).write([]) == 0)
        #expect(BlockingWriter(-1).write([1]) == EBADF)
    }
}
